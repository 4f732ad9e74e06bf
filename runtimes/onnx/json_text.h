// A text as JSON has it. Pure.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>

namespace dormouse::onnx {

// With its quotes. What must be escaped is, all else stays the UTF-8 that it is.
inline std::string json_text(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20) {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(c));
      out += escaped;
      continue;
    }
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

}  // namespace dormouse::onnx
