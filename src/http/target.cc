#include "http/target.h"

#include <array>
#include <cstdint>

#include "http/hex.h"

namespace dormouse::http {
namespace {

constexpr bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// RFC 3986's pchar and '/', without '%' and ';'.
constexpr auto path_bytes = [] {
  std::array<bool, 256> allowed{};
  for (unsigned i = 1; i < 0x80; ++i) {
    const char c = static_cast<char>(i);
    allowed[i] = is_alphanumeric(c) || std::string_view("-._~!$&'()*+,=:@/").contains(c);
  }
  return allowed;
}();

// The byte that "%XX" at the start of `text` stands for; -1 if it is not such.
int decode_percent(std::string_view text) {
  if (text.size() < 3) return -1;
  const int high = hex_digit(text[1]);
  const int low = hex_digit(text[2]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

// How many bytes the UTF-8 sequence at the start of `text` has; 0 if it is not one. Overlong forms,
// surrogates and what is above U+10FFFF are not.
std::size_t utf8_sequence_size(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t size = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < size) return 0;
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  if (first == 0xE0 && byte(1) < 0xA0) return 0;
  if (first == 0xED && byte(1) > 0x9F) return 0;
  if (first == 0xF0 && byte(1) < 0x90) return 0;
  if (first == 0xF4 && byte(1) > 0x8F) return 0;
  return size;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t size = utf8_sequence_size(text);
    if (size == 0) return false;
    text.remove_prefix(size);
  }
  return true;
}

bool has_dot_or_empty_segment(std::string_view path) {
  while (!path.empty()) {
    path.remove_prefix(1);
    const std::string_view segment = path.substr(0, path.find('/'));
    path.remove_prefix(segment.size());
    if (segment == "." || segment == ".." || (segment.empty() && !path.empty())) return true;
  }
  return false;
}

Accepted<std::string> decode_path(std::string_view raw) {
  std::string path;
  path.reserve(raw.size());
  bool decoded = false;
  for (std::size_t i = 0; i < raw.size(); ++i) {
    if (raw[i] != '%') {
      if (!path_bytes[static_cast<std::uint8_t>(raw[i])]) {
        return refuse("a byte that may not stand in a path");
      }
      path += raw[i];
      continue;
    }
    const int byte = decode_percent(raw.substr(i));
    if (byte < 0) return refuse("a '%' without two hexadecimal digits");
    const char c = static_cast<char>(byte);
    if (c == '/') return refuse(encoded_slash);
    if (byte < 0x20 || byte == 0x7F || std::string_view("\\;%").contains(c)) {
      return refuse("an encoded control byte, '\\', ';' or '%' in the path");
    }
    path += c;
    decoded = true;
    i += 2;
  }
  if (has_dot_or_empty_segment(path)) return refuse("an empty or dot segment in the path");
  if (decoded && !is_utf8(path)) return refuse("a path that is not UTF-8");
  return path;
}

Accepted<std::string> check_query(std::string_view raw) {
  for (std::size_t i = 0; i < raw.size(); ++i) {
    const auto c = static_cast<std::uint8_t>(raw[i]);
    if (c <= 0x20 || c >= 0x7F || c == '#') {
      return refuse("a byte that may not stand in a query");
    }
    if (raw[i] != '%') continue;
    const int byte = decode_percent(raw.substr(i));
    if (byte < 0) return refuse("a '%' without two hexadecimal digits");
    if (byte == 0) return refuse("%00 in the query");
  }
  return std::string(raw);
}

}  // namespace

Accepted<Target> parse_target(std::string_view target) {
  if (!target.starts_with('/')) return refuse("a target that does not start with '/'");
  const std::size_t question = target.find('?');
  auto path = decode_path(target.substr(0, question));
  if (!path) return std::unexpected(path.error());
  if (question == std::string_view::npos) return Target{*std::move(path), {}};
  auto query = check_query(target.substr(question + 1));
  if (!query) return std::unexpected(query.error());
  return Target{*std::move(path), *std::move(query)};
}

}  // namespace dormouse::http
