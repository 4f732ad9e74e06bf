// A request in OpenAI's words (POST /v1/chat/completions, /v1/completions, /v1/embeddings), read
// and checked. Pure.
//
// Source  https://github.com/openai/openai-openapi, and as extensions of other servers `top_k`,
//         `min_p` and `ignore_eos`.
// Errors  invalid_argument, unsupported or, of a body of too many values, too_large; the message
//         begins with the field: "temperature: …".
//         A field that nothing here obeys is an error, never passed over, unless it only labels
//         the request (`user`, `metadata`, …).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"

namespace dormouse::llm {

using Token = std::int32_t;
using Text = std::variant<std::string, std::vector<Token>>;  // As text, or as the model's tokens.

enum class Operation : std::uint8_t { chat, completion, embedding };

struct Sampling {
  float temperature = 1;  // 0: always the most likely token.
  float top_p = 1;
  float min_p = 0;
  std::int32_t top_k = 0;  // 0: all.
  float frequency_penalty = 0;
  float presence_penalty = 0;
  std::optional<std::uint32_t> seed;  // Without one: from the kernel.
  std::vector<std::pair<Token, float>> logit_bias;
  bool ignore_eos = false;
};

enum class ToolChoice : std::uint8_t { automatic, none, required };

struct Request {
  Operation operation = Operation::chat;

  std::string messages;           // JSON, of a chat,
  std::size_t message_bytes = 0;  // and how long its contents are together.
  std::string tools;              // JSON; "": none.
  ToolChoice tool_choice = ToolChoice::automatic;
  bool parallel_tool_calls = true;
  std::string json_schema;  // Of the answer; "": any text.
  bool schema_is_strict = false;
  std::string reasoning_effort;  // "": the model's own.

  std::vector<Text> texts;  // Prompts of a completion, or what to embed.
  bool echo = false;
  bool base64 = false;
  std::optional<std::int32_t> dimensions;

  Sampling sampling;
  std::int32_t choices = 1;  // Of each prompt.
  std::optional<std::int32_t> tokens_max;
  std::vector<std::string> stop;
  std::optional<std::int32_t> logprobs;  // So many of the likeliest besides the chosen one.
  bool stream = false;
  bool include_usage = false;
};

inline constexpr std::size_t texts_max = 2048;
inline constexpr std::int32_t choices_max = 16;
// Of a body's JSON, each of which takes memory many times its text. As many as the vectors of 2,048
// texts of 512 tokens want.
inline constexpr std::size_t values_max = 1'250'000;

// `wanted` is what the caller asked for ("chat.completions", "completions", "embeddings"); "": what
// the body looks like.
Result<Request> read_request(std::string_view wanted, std::string_view body);

}  // namespace dormouse::llm
