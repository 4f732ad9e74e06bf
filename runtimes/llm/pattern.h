// Which regular expressions llama.cpp makes a grammar of. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace dormouse::llm {

inline constexpr std::int64_t times_max = 2000;  // llama.cpp's own bound of what is repeated.

// Why a pattern cannot be followed. What llama.cpp leaves out, it takes for any text.
struct Problem {
  std::string_view why;
  bool is_left_out = false;
};

std::optional<Problem> problem_of(std::string_view pattern);

}  // namespace dormouse::llm
