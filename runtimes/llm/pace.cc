#include "runtimes/llm/pace.h"

#include <algorithm>

namespace dormouse::llm {

Pace::Pace(std::int32_t tokens_max) : max_(tokens_max), tokens_(std::min(tokens_first, max_)) {
}

void Pace::took(std::int32_t tokens, std::chrono::nanoseconds time) {
  if (tokens < tokens_min) return;  // Of few tokens each takes longer than of many.
  constexpr std::int64_t growth = 8;
  const auto each = std::max<std::int64_t>(time.count() / tokens, 1);
  const std::int64_t fit = std::chrono::nanoseconds(step).count() / each;
  const std::int64_t most = std::min<std::int64_t>(growth * tokens_, max_);
  tokens_ =
      static_cast<std::int32_t>(std::clamp<std::int64_t>(fit, std::min(tokens_min, max_), most));
}

}  // namespace dormouse::llm
