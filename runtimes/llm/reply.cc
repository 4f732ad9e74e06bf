#include "runtimes/llm/reply.h"

#include <boost/json.hpp>
#include <cmath>
#include <limits>

#include "base/bytes.h"
#include "base/utf8.h"

namespace dormouse::llm {
namespace {

namespace json = boost::json;

std::string_view name(Finish finish) {
  switch (finish) {
    case Finish::stop: return "stop";
    case Finish::length: return "length";
    case Finish::tool_calls: return "tool_calls";
  }
  __builtin_unreachable();
}

std::string_view object_name(const Heading& heading) {
  if (heading.operation == Operation::completion) return "text_completion";
  return heading.stream ? "chat.completion.chunk" : "chat.completion";
}

json::object begun(const Heading& heading) {
  const bool chat = heading.operation == Operation::chat;
  return {{"id", (chat ? "chatcmpl-" : "cmpl-") + heading.id},
          {"object", object_name(heading)},
          {"created", heading.created},
          {"model", heading.model}};
}

// JSON has no minus infinity.
double logarithm(float value) {
  constexpr double least = -9999;
  return std::isfinite(value) ? std::max(static_cast<double>(value), least) : least;
}

// A token may be part of a character.
json::object described(std::string_view text, float value) {
  json::array bytes;
  for (const char c : text) bytes.push_back(static_cast<unsigned char>(c));
  return {{"token", valid_utf8(text)}, {"logprob", logarithm(value)}, {"bytes", std::move(bytes)}};
}

json::object chat_logprobs(const std::vector<TokenReport>& reports) {
  json::array content;
  for (const TokenReport& report : reports) {
    json::object token = described(report.text, report.logarithm);
    json::array likeliest;
    for (const auto& [text, value] : report.likeliest) likeliest.push_back(described(text, value));
    token["top_logprobs"] = std::move(likeliest);
    content.push_back(std::move(token));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

json::object text_logprobs(const std::vector<TokenReport>& reports) {
  json::array tokens, values, likeliest, offsets;
  for (const TokenReport& report : reports) {
    const std::string text = valid_utf8(report.text);
    tokens.emplace_back(text);
    values.push_back(logarithm(report.logarithm));
    json::object top{{text, values.back()}};  // The chosen one is always among them.
    for (const auto& [other, value] : report.likeliest) top[valid_utf8(other)] = logarithm(value);
    likeliest.push_back(std::move(top));
    offsets.push_back(report.offset);
  }
  return {{"tokens", std::move(tokens)},
          {"token_logprobs", std::move(values)},
          {"top_logprobs", std::move(likeliest)},
          {"text_offset", std::move(offsets)}};
}

json::value logprobs(const Heading& heading, const std::vector<TokenReport>& reports) {
  if (!heading.has_logprobs) return nullptr;
  if (heading.operation == Operation::chat) return chat_logprobs(reports);
  return text_logprobs(reports);
}

json::array calls(const std::vector<ToolCall>& all, bool with_index) {
  json::array calls;
  for (const ToolCall& call : all) {
    json::object function{{"arguments", call.arguments}};
    if (!call.name.empty()) function["name"] = call.name;
    json::object one{{"function", std::move(function)}};
    if (with_index) one["index"] = call.index;
    if (!call.id.empty()) one["id"] = call.id;
    if (!call.name.empty()) one["type"] = "function";
    calls.push_back(std::move(one));
  }
  return calls;
}

json::object usage_of(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt},
          {"completion_tokens", usage.generated},
          {"total_tokens", usage.prompt + usage.generated},
          {"prompt_tokens_details", {{"cached_tokens", usage.reused}}}};
}

json::object choice(const Heading& heading, std::size_t index, const Said& said) {
  json::object choice{{"index", index},
                      {"logprobs", logprobs(heading, said.reports)},
                      {"finish_reason", name(said.finish)}};
  if (heading.operation == Operation::completion) {
    choice["text"] = said.delta.content;
    return choice;
  }
  const bool only_calls = said.delta.content.empty() && !said.delta.calls.empty();
  json::object message{{"role", "assistant"}, {"refusal", nullptr}};
  message["content"] = only_calls ? json::value(nullptr) : json::value(said.delta.content);
  if (!said.delta.thought.empty()) message["reasoning_content"] = said.delta.thought;
  if (!said.delta.calls.empty()) message["tool_calls"] = calls(said.delta.calls, false);
  choice["message"] = std::move(message);
  return choice;
}

std::string as_event(const json::value& data) {
  return "data: " + json::serialize(data) + "\n\n";
}

std::string one_choice(const Heading& heading, json::object choice) {
  json::object chunk = begun(heading);
  chunk["choices"] = json::array{std::move(choice)};
  if (heading.include_usage) chunk["usage"] = nullptr;
  return as_event(chunk);
}

std::string as_base64(Bytes bytes) {
  constexpr char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t three = 0;
    for (std::size_t j = 0; j < 3; ++j) {
      const auto byte = i + j < bytes.size() ? std::to_integer<std::uint32_t>(bytes[i + j]) : 0;
      three = three << 8 | byte;
    }
    for (std::size_t j = 0; j < 4; ++j) {
      const bool padding = i + j > bytes.size();
      text += padding ? '=' : alphabet[three >> (18 - 6 * j) & 63];
    }
  }
  return text;
}

}  // namespace

void add(Said& said, Delta delta) {
  said.delta.content += delta.content;
  said.delta.thought += delta.thought;
  for (ToolCall& call : delta.calls) {
    auto& all = said.delta.calls;
    if (all.size() <= call.index) all.resize(call.index + 1, {.index = call.index});
    all[call.index].id += call.id;
    all[call.index].name += call.name;
    all[call.index].arguments += call.arguments;
  }
}

std::string completion(const Heading& heading, const std::vector<Said>& all, const Usage& usage) {
  json::object answer = begun(heading);
  json::array choices;
  for (const Said& said : all) choices.push_back(choice(heading, choices.size(), said));
  answer["choices"] = std::move(choices);
  answer["usage"] = usage_of(usage);
  return json::serialize(answer);
}

std::string event(const Heading& heading, std::size_t index, bool first, const Delta& delta,
                  const std::vector<TokenReport>& reports) {
  json::object choice{{"index", index}};
  if (heading.operation == Operation::completion) {
    choice["text"] = delta.content;
  } else {
    json::object part;
    if (first) part["role"] = "assistant";
    if (first || !delta.content.empty()) part["content"] = delta.content;
    if (!delta.thought.empty()) part["reasoning_content"] = delta.thought;
    if (!delta.calls.empty()) part["tool_calls"] = calls(delta.calls, true);
    choice["delta"] = std::move(part);
  }
  choice["logprobs"] = reports.empty() ? json::value(nullptr) : logprobs(heading, reports);
  choice["finish_reason"] = nullptr;
  return one_choice(heading, std::move(choice));
}

std::string final_event(const Heading& heading, std::size_t index, Finish finish) {
  json::object choice{{"index", index}, {"logprobs", nullptr}, {"finish_reason", name(finish)}};
  if (heading.operation == Operation::completion) {
    choice["text"] = "";
  } else {
    choice["delta"] = json::object();
  }
  return one_choice(heading, std::move(choice));
}

std::string closing_events(const Heading& heading, const Usage& usage) {
  std::string events;
  if (heading.include_usage) {
    json::object chunk = begun(heading);
    chunk["choices"] = json::array();
    chunk["usage"] = usage_of(usage);
    events = as_event(chunk);
  }
  return events + "data: [DONE]\n\n";
}

std::string embeddings(const Heading& heading, const std::vector<std::vector<float>>& vectors,
                       bool base64, std::size_t tokens) {
  json::array all;
  for (const std::vector<float>& vector : vectors) {
    json::object one{{"object", "embedding"}, {"index", all.size()}};
    if (base64) {
      one["embedding"] = as_base64(std::as_bytes(std::span(vector)));
    } else {
      one["embedding"] = json::array(vector.begin(), vector.end());
    }
    all.push_back(std::move(one));
  }
  return json::serialize(
      json::object{{"object", "list"},
                   {"data", std::move(all)},
                   {"model", heading.model},
                   {"usage", {{"prompt_tokens", tokens}, {"total_tokens", tokens}}}});
}

}  // namespace dormouse::llm
