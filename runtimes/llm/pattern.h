// Which regular expressions llama.cpp makes a grammar of, and how they are given to it. Pure.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace dormouse::llm {

inline constexpr std::int64_t times_max = 2000;  // llama.cpp's own bound of what is repeated.

// Why a pattern cannot be followed. What llama.cpp leaves out, it takes for any text.
struct Problem {
  std::string_view why;
  bool is_left_out = false;
};

// The pattern as llama.cpp is given it. Its grammar is of what stands in JSON between quotes, where
// a quote, a backslash and control characters cannot be as they are: `.` and sets match none of
// them there, and a pattern that needs one has a Problem.
std::expected<std::string, Problem> followed_pattern(std::string_view pattern);

}  // namespace dormouse::llm
