// What people read. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dormouse::cli {

// Rows under a heading, columns aligned by what is longest; numbers are put to the right.
std::string table(const std::vector<std::string>& heading,
                  const std::vector<std::vector<std::string>>& rows);

std::string readable_size(std::uint64_t bytes);  // "1.5 GiB", "512 B"
std::string readable_ms(double milliseconds);    // "0.42 ms", "1.93 s", "2 m 03 s"
std::string readable_count(std::int64_t);        // "1,234,567"

// Without what a terminal would act on: a function's log cannot move the cursor or change a title.
std::string harmless(std::string_view text);
std::string harmless_lines(std::string_view text);  // Its line ends stay.

std::string shell_word(std::string_view word);  // As a shell reads it: plain, or in single quotes.

}  // namespace dormouse::cli
