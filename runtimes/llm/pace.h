// How much of their prompts one step of a model reads beside what others say: as much as takes
// about a second, since they wait for the step that is under way. Pure.
#pragma once

#include <chrono>
#include <cstdint>

namespace dormouse::llm {

class Pace {
 public:
  static constexpr std::chrono::milliseconds step{1000};
  static constexpr std::int32_t tokens_first = 64, tokens_min = 16;

  explicit Pace(std::int32_t tokens_max);
  std::int32_t tokens() const { return tokens_; }  // At most, in the next step.
  // A step of so many tokens took so long.
  void took(std::int32_t tokens, std::chrono::nanoseconds time);

 private:
  const std::int32_t max_;
  std::int32_t tokens_;
};

}  // namespace dormouse::llm
