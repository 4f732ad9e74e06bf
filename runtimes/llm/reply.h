// Answers in OpenAI's words: JSON, or events of a stream. Pure.
//
// Source  https://github.com/openai/openai-openapi; `reasoning_content` as DeepSeek's API and vLLM
//         have it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtimes/llm/choice.h"

namespace dormouse::llm {

struct Usage {
  std::size_t prompt = 0;  // All of the prompt's tokens,
  std::size_t reused = 0;  // of which so many were computed before.
  std::size_t generated = 0;
};

// What is the same in all that answers one request.
struct Heading {
  Operation operation = Operation::chat;
  std::string id;     // The invocation's.
  std::string model;  // As the request said it.
  std::int64_t created = 0;
  bool stream = false;
  bool include_usage = false;
  bool has_logprobs = false;
};

// All that one choice said, for an answer in one piece.
struct Said {
  Delta delta;  // With each tool's call in one part.
  std::vector<TokenReport> reports;
  Finish finish = Finish::stop;
};
void add(Said&, Delta);

std::string completion(const Heading&, const std::vector<Said>&, const Usage&);

// Whole events. The first of a choice says who speaks.
std::string event(const Heading&, std::size_t choice, bool first, const Delta&,
                  const std::vector<TokenReport>&);
std::string final_event(const Heading&, std::size_t choice, Finish);
std::string closing_events(const Heading&, const Usage&);

std::string embeddings(const Heading&, const std::vector<std::vector<float>>&, bool base64,
                       std::size_t tokens);

}  // namespace dormouse::llm
