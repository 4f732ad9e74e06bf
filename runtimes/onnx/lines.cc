#include "runtimes/onnx/lines.h"

#include <algorithm>
#include <string_view>

namespace dormouse::onnx {
namespace {

// How many bytes the character that `text` begins with has; 0 if it is none.
std::size_t character_bytes(std::string_view text) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = at(0);
  if (first < 0x80) return 1;
  const std::size_t size = first < 0xc2   ? 0
                           : first < 0xe0 ? 2
                           : first < 0xf0 ? 3
                           : first < 0xf5 ? 4
                                          : 0;
  if (size == 0 || text.size() < size) return 0;
  for (std::size_t i = 1; i < size; ++i) {
    if ((at(i) & 0xc0) != 0x80) return 0;
  }
  const bool overlong = (first == 0xe0 && at(1) < 0xa0) || (first == 0xf0 && at(1) < 0x90);
  const bool beyond = (first == 0xed && at(1) > 0x9f) || (first == 0xf4 && at(1) > 0x8f);
  return overlong || beyond ? 0 : size;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t size = character_bytes(text);
    if (size == 0) return false;
    text.remove_prefix(size);
  }
  return true;
}

}  // namespace

Result<std::vector<std::string>> read_lines(Bytes file, std::size_t lines_max) {
  const auto refused = [](std::string why) {
    return Error{Code::invalid_argument, std::move(why)};
  };
  std::string_view rest = as_text(file);
  if (rest.starts_with("\xef\xbb\xbf")) rest.remove_prefix(3);
  std::vector<std::string> lines;
  while (!rest.empty()) {
    if (lines.size() == lines_max) {
      return refused("it has more than " + std::to_string(lines_max) + " lines");
    }
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    const std::string where = "its line " + std::to_string(lines.size() + 1);
    if (line.size() > line_bytes_max) return refused(where + " is over 1024 bytes");
    if (!is_utf8(line)) return refused(where + " is not UTF-8");
    lines.emplace_back(line);
  }
  return lines;
}

}  // namespace dormouse::onnx
