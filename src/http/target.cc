#include "http/target.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <variant>

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

// Also to who takes the rest of a segment for parameters, a query or the end of a string.
bool has_dot_segment(std::string_view path) {
  const auto is_end = [](char c) {
    return std::string_view(";?#\x7F").contains(c) || static_cast<std::uint8_t>(c) < 0x20;
  };
  while (!path.empty()) {
    path.remove_prefix(1);
    const std::string_view segment = path.substr(0, path.find('/'));
    path.remove_prefix(segment.size());
    if (!segment.starts_with('.')) continue;
    const std::string_view name(segment.begin(), std::ranges::find_if(segment, is_end));
    if (name == "." || name == "..") return true;
  }
  return false;
}

// As a careless reader would: what is no escape stays as it is, and a '\' is a '/'.
std::string decoded_again(std::string_view path) {
  std::string out;
  out.reserve(path.size());
  while (!path.empty()) {
    const int byte = path.front() == '%' ? decode_percent(path) : -1;
    const char c = byte < 0 ? path.front() : static_cast<char>(byte);
    out += c == '\\' ? '/' : c;
    path.remove_prefix(byte < 0 ? 1 : 3);
  }
  return out;
}

bool hides_dot_segment(std::string path) {
  constexpr int times = 4;
  for (int i = 0; i < times; ++i) {
    path = decoded_again(path);
    if (has_dot_segment(path)) return true;
  }
  return false;
}

void note(Target& target, const char* why) {
  if (target.ambiguous == nullptr) target.ambiguous = why;
}

// Takes one escape off the start of `raw`.
Accepted<std::monostate> decode_escape(std::string_view& raw, Target& target) {
  const int byte = decode_percent(raw);
  if (byte < 0) return refuse("a '%' without two hexadecimal digits");
  if (byte < 0x20 || byte == 0x7F) return refuse("an encoded control byte in the path");
  const char c = static_cast<char>(byte);
  if (std::string_view("/\\;%").contains(c)) {
    note(target, c == '/' ? encoded_slash : "an encoded '\\', ';' or '%' in the path");
    target.path += raw.substr(0, 3);
  } else {
    target.path += c;
  }
  raw.remove_prefix(3);
  return {};
}

// As nearly every path is: it stands for itself.
bool is_plain(std::string_view raw) {
  const auto is_one = [](char c) { return path_bytes[static_cast<std::uint8_t>(c)]; };
  return std::ranges::all_of(raw, is_one) && !raw.contains("//") && !has_dot_segment(raw);
}

Accepted<Target> decode_path(std::string_view raw) {
  Target target;
  if (is_plain(raw)) {
    target.path = raw;
    return target;
  }
  target.path.reserve(raw.size());
  const bool decodes = raw.contains('%');
  while (!raw.empty()) {
    const char c = raw.front();
    if (c == '%') {
      const auto decoded = decode_escape(raw, target);
      if (!decoded) return std::unexpected(decoded.error());
      continue;
    }
    if (!path_bytes[static_cast<std::uint8_t>(c)]) {
      const bool is_read_by_some = std::string_view(";[]|^").contains(c);
      if (!is_read_by_some) return refuse("a byte that may not stand in a path");
      note(target, "a ';', '[', ']', '|' or '^' in the path");
    }
    if (raw.starts_with("//")) note(target, "an empty segment in the path");
    target.path += c;
    raw.remove_prefix(1);
  }
  const bool is_dotted = has_dot_segment(target.path) ||
                         (target.ambiguous != nullptr && hides_dot_segment(target.path));
  if (is_dotted) return refuse(dot_segment);
  if (decodes && !is_utf8(target.path)) return refuse("a path that is not UTF-8");
  return target;
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
  auto read = decode_path(target.substr(0, question));
  if (!read || question == std::string_view::npos) return read;
  auto query = check_query(target.substr(question + 1));
  if (!query) return std::unexpected(query.error());
  read->query = *std::move(query);
  return read;
}

}  // namespace dormouse::http
