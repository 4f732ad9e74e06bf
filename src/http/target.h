// The request target of HTTP/1.1, read once and for all. Router and key check see the same
// canonical path because there is only this reading of it. Pure.
//
// A path that two readers could understand differently is ambiguous: nothing is to be done by it
// but to pass it on, as it came, to a server that knows how it means its own paths
// ("/@scope%2Fname", "/of/https://host/a;b"). Ambiguous are '/', '\', ';' and '%' in their encoded
// spellings (so that of every other path decoding a second time changes nothing), ';', '[', ']',
// '|' and '^' as they are, and empty segments ("//").
//
// Refused in the path: the segments "." and "..", also to a reader who decodes up to four times,
// takes '\' for '/' and cuts segments at ';', '?', '#' or a control byte; '\' as it is, control
// bytes, bytes that are not ASCII, decoded bytes that are not UTF-8. One '/' at the end is kept and
// is part of the path. Refused anywhere: '#', a '%' without two hexadecimal digits, %00.
#pragma once

#include <string>
#include <string_view>

#include "http/rejection.h"

namespace dormouse::http {

// Of paths with an encoded '/', or with what it hides: so that a place whose names could have one
// can say it in its words.
inline constexpr const char* encoded_slash = "an encoded '/' in the path";
inline constexpr const char* dot_segment = "a dot segment in the path";

struct Target {
  std::string path;   // Decoded: "/f/caf\xc3\xa9"; but for the escapes that are ambiguous.
  std::string query;  // Raw, without the '?'.
  const char* ambiguous = nullptr;  // What it is by; a constant.
};

// An origin-form target: a path and perhaps a query.
Accepted<Target> parse_target(std::string_view target);

}  // namespace dormouse::http
