// Text of protocols, in which only the letters of ASCII have two cases: host names, header names,
// methods, media types, file suffixes. Pure.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace dormouse {

// A to Z made small; every other byte stays.
inline std::string lower(std::string_view text) {
  std::string lowered(text);
  for (char& c : lowered) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c | 0x20);
  }
  return lowered;
}

// Without the blanks and tabs around it. It lives as long as `text` does.
inline std::string_view trimmed(std::string_view text) {
  const auto is_blank = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

// Whether a Content-Type, "Image/PNG; q=1", is of `type`, "image/png". Its parameters do not count.
inline bool is_media_type(std::string_view content_type, std::string_view type) {
  return lower(trimmed(content_type.substr(0, content_type.find(';')))) == type;
}

// The pieces between `at`s, empty ones too. They live as long as `text` does.
inline std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  for (;;) {
    const auto end = std::min(text.find(at), text.size());
    parts.push_back(text.substr(0, end));
    if (end == text.size()) return parts;
    text.remove_prefix(end + 1);
  }
}

}  // namespace dormouse
