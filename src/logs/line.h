// A line of a log as it lies in a file: "7 1700000000000 3 instance invocation the text\n".
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "logs/logs.h"

namespace dormouse::logs {

// Of one line: cuts the text to bytes_max, and says so; makes its line breaks spaces.
std::string encode(const Line&, std::size_t bytes_max);
// Each line of the text by itself, numbered from line.sequence on.
std::string encode_all(const Line&, std::size_t bytes_max);
std::optional<Line> decode(std::string_view without_break);
std::optional<std::uint64_t> sequence_of(std::string_view line);

// Where the first line after `sequence` begins in a file whose lines are in order.
std::size_t begin_after(std::string_view file, std::uint64_t sequence);
// Where the last `lines_max` lines begin.
std::size_t begin_of_last(std::string_view file, std::size_t lines_max);

}  // namespace dormouse::logs
