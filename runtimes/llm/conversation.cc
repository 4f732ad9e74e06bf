#include "runtimes/llm/conversation.h"

#include <algorithm>
#include <cstring>

#include "runtimes/llm/chat_prompt.h"
#include "runtimes/llm/library.h"

namespace dormouse::llm {
namespace {

constexpr std::string_view magic = "DMCV";
constexpr std::uint32_t version = 1;

// Of a text that is cut at each mark_break.
std::vector<Token> tokens_of_parts(const Model& model, std::string_view text) {
  std::vector<Token> all;
  for (bool first = true; first || !text.empty(); first = false) {
    const std::string_view part = text.substr(0, text.find(mark_break));
    const std::vector<Token> tokens = model.tokens(part, true, first);
    all.insert(all.end(), tokens.begin(), tokens.end());
    text.remove_prefix(std::min(part.size() + mark_break.size(), text.size()));
  }
  return all;
}

}  // namespace

std::string conversation_head(std::span<const Token> tokens, std::size_t computed) {
  std::string head(magic);
  put(head, version);
  put_sized(head, library_version());
  put(head, static_cast<std::uint32_t>(computed));
  put(head, static_cast<std::uint32_t>(tokens.size()));
  head.append(as_text(std::as_bytes(tokens)));
  return head;
}

Result<KeptConversation> read_conversation(Bytes file) {
  Reader reader(as_text(file));
  const bool known = reader.take(magic.size()) == magic && reader.get<std::uint32_t>() == version &&
                     reader.get_sized() == library_version();
  if (!known) return Error{Code::invalid_argument, "a kept conversation of another version"};
  const std::size_t computed = reader.get<std::uint32_t>();
  const std::size_t count = reader.get<std::uint32_t>();
  const std::string_view raw = reader.take(count * sizeof(Token));
  if (!reader.ok() || computed > count)
    return Error{Code::invalid_argument, "a kept conversation is cut off"};
  KeptConversation kept{std::vector<Token>(count), computed, as_bytes(reader.rest()), {}};
  std::memcpy(kept.tokens.data(), raw.data(), raw.size());
  return kept;
}

std::vector<Token> continued(const Model& model, std::span<const Token> known,
                             std::string_view text) {
  std::vector<Token> own = tokens_of_parts(model, text);
  if (text.contains(mark_break)) return own;
  const auto [different, _] = std::ranges::mismatch(own, known);
  const auto same = static_cast<std::size_t>(different - own.begin());
  if (same == known.size()) return own;
  std::string said;
  const bool begins = !known.empty() && known.front() == llama_vocab_bos(model.vocabulary()) &&
                      !own.empty() && own.front() == known.front();
  for (const Token token : known.subspan(begins ? 1 : 0)) said += model.piece(token, true);
  if (!text.starts_with(said)) return own;
  const std::string_view rest = text.substr(said.size());
  std::vector<Token> following = model.tokens(rest, true, false);
  // Only what begins with a mark is cut into the same tokens wherever it stands.
  const bool marked =
      !following.empty() && llama_vocab_is_control(model.vocabulary(), following[0]);
  if (!marked) return own;
  std::vector<Token> all(known.begin(), known.end());
  all.insert(all.end(), following.begin(), following.end());
  return all;
}

}  // namespace dormouse::llm
