#include "control/paths.h"

#include <algorithm>
#include <string>

#include "base/utf8.h"

namespace dormouse::control {
namespace {

Error refused(std::string why) {
  return {Code::invalid_argument, std::move(why)};
}

}  // namespace

Result<> check_path(std::string_view path) {
  constexpr std::size_t path_bytes_max = 1024, element_bytes_max = 255;
  const std::string quoted = "the path " + in_quotes(path) + " ";
  if (path.empty() || path.size() > path_bytes_max) return refused(quoted + "is empty or too long");
  const auto hostile = [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7F || c == '\\';
  };
  if (std::ranges::any_of(path, hostile)) {
    return refused(quoted + "has a control character or a backslash");
  }
  if (valid_utf8(path) != path) return refused(quoted + "is not UTF-8");
  for (std::string_view rest = path;;) {
    const std::string_view element = rest.substr(0, rest.find('/'));
    if (element.empty()) return refused(quoted + "is absolute, or has an empty element");
    if (element == "." || element == "..") return refused(quoted + "has \".\" or \"..\" in it");
    if (element.size() > element_bytes_max)
      return refused(quoted + "has an element over 255 bytes");
    if (element.size() == rest.size()) break;
    rest.remove_prefix(element.size() + 1);
  }
  if (path == ".dormouse" || path.starts_with(".dormouse/")) {
    return refused(quoted + "is in .dormouse/, which is the platform's own");
  }
  return ok;
}

std::string in_quotes(std::string_view path) {
  constexpr std::size_t shown_max = 100;
  if (path.size() <= shown_max) return "\"" + valid_utf8(path) + "\"";
  std::size_t shown = 0;  // Whole characters.
  for (std::size_t next = 0; next <= shown_max;) {
    shown = next;
    next += std::max<std::size_t>(1, utf8_size(path.substr(next)));
  }
  return "\"" + valid_utf8(path.substr(0, shown)) + "…\"";
}

}  // namespace dormouse::control
