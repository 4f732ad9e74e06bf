// The lines of a text file, as the people who made it may have saved it. Pure.
#pragma once

#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace dormouse::onnx {

inline constexpr std::size_t line_bytes_max = 1024;

// Without their ends, "\n" or "\r\n", and without a byte order mark. What follows the last end is a
// line only if there is something. invalid_argument if there are more than `lines_max`, of which no
// more are kept then, or names the first line that is not UTF-8, or too long.
Result<std::vector<std::string>> read_lines(Bytes file, std::size_t lines_max);

}  // namespace dormouse::onnx
