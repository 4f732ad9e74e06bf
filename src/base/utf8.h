// Where characters of UTF-8 begin and end (RFC 3629, table 3-7 of Unicode). Pure.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace dormouse {

// How many bytes the well-formed character that `text` begins with has; 0 if there is none.
std::size_t utf8_size(std::string_view text);

// `text` with every byte that is not part of well-formed UTF-8 replaced by U+FFFD, so that what a
// function prints can be shown as JSON.
std::string valid_utf8(std::string_view text);

}  // namespace dormouse
