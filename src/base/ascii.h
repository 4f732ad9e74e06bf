// Text of protocols, in which only the letters of ASCII have two cases: host names, header names,
// methods, file suffixes. Pure.
#pragma once

#include <string>
#include <string_view>

namespace dormouse {

// A to Z made small; every other byte stays.
inline std::string lower(std::string_view text) {
  std::string lowered(text);
  for (char& c : lowered) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c | 0x20);
  }
  return lowered;
}

}  // namespace dormouse
