// The request target of HTTP/1.1, read once and for all. Router and key check see the same
// canonical path because there is only this reading of it; whatever two readers could understand
// differently is refused, so that a server that is passed the target as it came, and decodes it
// itself, reads the same. Pure.
//
// Refused in the path: '/', '\', ';' and '%' in their encoded spellings (so that decoding a second
// time changes nothing), raw '\' and ';', control bytes, raw bytes that are not ASCII, decoded
// bytes that are not UTF-8, empty segments ("//"), "." and "..". One '/' at the end is kept and is
// part of the path. Refused anywhere: '#', a '%' without two hexadecimal digits, %00.
#pragma once

#include <string>
#include <string_view>

#include "http/rejection.h"

namespace dormouse::http {

// Why an encoded '/' is refused: so that a place whose names could have one can say it in its
// words.
inline constexpr const char* encoded_slash = "an encoded '/' in the path";

struct Target {
  std::string path;   // Decoded: "/f/caf\xc3\xa9".
  std::string query;  // Raw, without the '?'.
};

// An origin-form target: a path and perhaps a query.
Accepted<Target> parse_target(std::string_view target);

}  // namespace dormouse::http
