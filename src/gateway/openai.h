// OpenAI's dialect: the paths, the errors and the lists of models. Of a request the platform reads
// the name of the model and of the conversation, and nothing else: its worker reads the rest, in
// its sandbox. Source: github.com/openai/openai-openapi. Pure. docs/openai.md.
//
//   {"error": {"message": "…", "type": "invalid_request_error", "param": "model", "code": "…"}}
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "http/message.h"
#include "http/server.h"

namespace dormouse::gateway {

// What a body says of whom it is for; the rest of it is only held to be JSON.
struct OpenAiHead {
  std::string model;
  std::optional<std::string> conversation;  // Of "conversation": "ID" or {"id": "ID"}.
};

// invalid_argument: "PARAM: WHY", or what is wrong with the JSON. Blocks on long texts.
Result<OpenAiHead> read_openai_head(std::string_view body);

// The object above. A message of a caller's fault that begins with "PARAM: " names the param; if it
// goes on with "context: ", the code is context_length_exceeded.
std::string openai_error_json(const Error&);
http::Response openai_error(const Error&, Duration retry_after = {});

// A refusal of no parameter that its status says all of: HTTP's own, or 403.
http::Response openai_refusal(int status, const std::string& message);

// What a worker streams, as it passes on: whole events, wherever its chunks were cut, so that an
// error behind them is an event, too. An event that is very large passes in parts.
class OpenAiEvents {
 public:
  std::string add(std::string piece);  // What of it, and of what came before, can pass on.
  std::string rest() { return std::move(held_); }  // Of a stream that came to its end.
  std::string fail(const Error&);                  // The last event of one that did not.

 private:
  std::string held_;
  bool is_begun_ = false;  // Part of the event that is held has passed.
};

struct OpenAiModel {
  std::string id;
  WallTime deployed;
};
std::string openai_model(const OpenAiModel&);
std::string openai_models(const std::vector<OpenAiModel>&);

}  // namespace dormouse::gateway
