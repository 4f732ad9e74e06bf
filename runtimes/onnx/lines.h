// The lines of a text file, as the people who made it may have saved it. Pure.
#pragma once

#include <algorithm>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace dormouse::onnx {

// Without their ends, "\n" or "\r\n", and without a byte order mark. What follows the last end is a
// line only if there is something.
inline std::vector<std::string_view> lines_of(Bytes file) {
  std::string_view rest = as_text(file);
  if (rest.starts_with("\xef\xbb\xbf")) rest.remove_prefix(3);
  std::vector<std::string_view> lines;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.push_back(line);
  }
  return lines;
}

}  // namespace dormouse::onnx
