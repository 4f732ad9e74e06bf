// What a file of a revision may be called. Pure.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace dormouse::control {

// Relative, "/"-separated, no empty element, "." or "..", no control character or backslash, UTF-8,
// at most 255 bytes an element and 1024 in all; and not beginning with ".dormouse/", which is the
// platform's.
Result<> check_path(std::string_view path);

// For an error: whatever it is, in quotes and as UTF-8, of a long one the first 100 bytes and "…".
std::string in_quotes(std::string_view path);

}  // namespace dormouse::control
