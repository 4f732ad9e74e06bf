#include "runtimes/onnx/lines.h"

#include <algorithm>
#include <string_view>

#include "base/utf8.h"

namespace dormouse::onnx {
namespace {

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t size = utf8_size(text);
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
