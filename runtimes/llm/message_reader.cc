#include "runtimes/llm/message_reader.h"

#include <chat.h>
#include <sys/random.h>

#include <array>
#include <exception>

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

}  // namespace

struct MessageReader::Parsing {
  common_chat_parser_params params;
  std::string text;
  common_chat_msg message;
  std::vector<std::string> call_ids;
};

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

Result<Delta> MessageReader::add(std::string text) {
  if (!parsing_) return Delta{.content = std::move(text)};
  if (text.empty()) return Delta{};
  parsing_->text += text;
  return parse(true);
}

Result<Delta> MessageReader::end(std::string rest) {
  if (!parsing_) return Delta{.content = std::move(rest)};
  parsing_->text += rest;
  return parse(false);
}

Result<Delta> MessageReader::parse(bool partial) {
  try {
    common_chat_msg message = common_chat_parse(parsing_->text, partial, parsing_->params);
    if (partial && message.empty()) return Delta{};
    message.set_tool_call_ids(parsing_->call_ids, call_id);
    Delta delta;
    for (const auto& diff : common_chat_msg_diff::compute_diffs(parsing_->message, message)) {
      delta.content += diff.content_delta;
      delta.thought += diff.reasoning_content_delta;
      if (diff.tool_call_index == std::string::npos) continue;
      const common_chat_tool_call& call = diff.tool_call_delta;
      delta.calls.push_back({diff.tool_call_index, call.id, call.name, call.arguments});
    }
    parsing_->message = std::move(message);
    return delta;
  } catch (const std::exception& failure) {
    if (partial) return Delta{};  // It may become one yet.
    return Error{Code::function_failed, std::string(failure.what())};
  }
}

}  // namespace dormouse::llm
