#include "runtimes/llm/message_reader.h"

#include <chat.h>
#include <sys/random.h>

#include <array>
#include <exception>
#include <optional>

namespace dormouse::llm {

namespace {

// Not the same in any other turn: a chat's calls and their answers are told apart by them.
std::string call_id() {
  constexpr std::string_view letters = "abcdefghijklmnopqrstuvwxyz234567";
  std::array<unsigned char, 20> random{};
  (void)getrandom(random.data(), random.size(), 0);
  std::string id = "call_";
  for (const unsigned char each : random) id += letters[each % letters.size()];
  return id;
}

bool is_inside_character(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) == 0x80;
}

}  // namespace

// The text so far, and how much of it has become the message. Parts that wait for more of it (the
// beginning of a mark, a call without its name) are in no message yet.
struct MessageReader::Parsing {
  common_chat_parser_params params;
  std::string text;
  common_chat_msg message;     // What was handed on,
  std::size_t read = 0;        // of so much of the text.
  bool is_broken_off = false;  // It has left its form: what follows is content.
  std::vector<std::string> call_ids;

  std::optional<common_chat_msg> message_of(std::size_t size) const;
  bool is_whole(std::size_t size) const;
  std::size_t longest_in_form() const;
  std::size_t unread_from(std::size_t size) const;
  std::optional<Delta> read_to(std::size_t size);
  Delta rest_after(std::size_t size);
};

// Of the beginning of the text; nullopt: it is not in its form, and may not become so.
std::optional<common_chat_msg> MessageReader::Parsing::message_of(std::size_t size) const {
  try {
    return common_chat_parse(text.substr(0, size), false, params);
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

// Nothing waits for more.
bool MessageReader::Parsing::is_whole(std::size_t size) const {
  common_peg_parse_context strictly(params.generation_prompt + text.substr(0, size));
  return params.parser.parse(strictly).success();
}

std::size_t MessageReader::Parsing::longest_in_form() const {
  std::size_t good = read, bad = text.size() + 1;
  while (bad - good > 1) {
    const std::size_t middle = good + (bad - good) / 2;
    (message_of(middle) ? good : bad) = middle;
  }
  while (good > read && good < text.size() && is_inside_character(text[good])) --good;
  return good;
}

// Where the message of so much text has all that it has.
std::size_t MessageReader::Parsing::unread_from(std::size_t size) const {
  const auto all = message_of(size);
  if (!all || is_whole(size)) return size;
  std::size_t less = 0, enough = size;
  while (less < enough) {
    const std::size_t middle = less + (enough - less) / 2;
    if (message_of(middle) == all) {
      enough = middle;
    } else {
      less = middle + 1;
    }
  }
  return enough;
}

// What is new in it; nullopt: nothing can be made of it.
std::optional<Delta> MessageReader::Parsing::read_to(std::size_t size) {
  auto now = message_of(size);
  if (!now) return std::nullopt;
  if (now->empty()) return Delta{};
  try {
    now->set_tool_call_ids(call_ids, call_id);
    Delta delta;
    for (const auto& diff : common_chat_msg_diff::compute_diffs(message, *now)) {
      delta.content += diff.content_delta;
      delta.thought += diff.reasoning_content_delta;
      if (diff.tool_call_index == std::string::npos) continue;
      const common_chat_tool_call& call = diff.tool_call_delta;
      delta.calls.push_back({diff.tool_call_index, call.id, call.name, call.arguments});
    }
    message = std::move(*now);
    read = size;
    return delta;
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

// Of what is in its form what is new, then all that was not read.
Delta MessageReader::Parsing::rest_after(std::size_t size) {
  Delta delta = read_to(size).value_or(Delta{});
  delta.content += text.substr(unread_from(size));
  is_broken_off = true;
  return delta;
}

MessageReader::MessageReader(const ChatPrompt* prompt) {
  if (prompt == nullptr || prompt->parser.empty()) return;
  parsing_ = std::make_unique<Parsing>();
  parsing_->params.format = static_cast<common_chat_format>(prompt->format);
  parsing_->params.reasoning_format = COMMON_REASONING_FORMAT_DEEPSEEK;
  parsing_->params.generation_prompt = prompt->begun;
  parsing_->params.parser.load(prompt->parser);
}

MessageReader::~MessageReader() = default;

bool MessageReader::called() const {
  return parsing_ && !parsing_->message.tool_calls.empty();
}

bool MessageReader::has_whole_call() const {
  return called() && !parsing_->is_broken_off && parsing_->is_whole(parsing_->text.size());
}

Delta MessageReader::add(std::string text) {
  constexpr std::size_t patience = 256;  // What looks broken may be the half of a mark.
  if (!parsing_ || parsing_->is_broken_off) return Delta{.content = std::move(text)};
  if (text.empty()) return Delta{};
  parsing_->text += text;
  if (auto delta = parsing_->read_to(parsing_->text.size())) return *std::move(delta);
  if (parsing_->text.size() - parsing_->read <= patience) return Delta{};
  return parsing_->rest_after(parsing_->longest_in_form());
}

Delta MessageReader::end(std::string rest) {
  if (!parsing_ || parsing_->is_broken_off) return Delta{.content = std::move(rest)};
  parsing_->text += rest;
  return parsing_->rest_after(parsing_->longest_in_form());
}

}  // namespace dormouse::llm
