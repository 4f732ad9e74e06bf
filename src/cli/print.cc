#include "cli/print.h"

#include <algorithm>
#include <cstdio>

namespace dormouse::cli {
namespace {

// Columns on a screen: code points, which is right but for wide ones.
std::size_t width(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

bool is_number(std::string_view text) {
  return !text.empty() && text[0] >= '0' && text[0] <= '9' && text.find('-') == text.npos;
}

std::string formatted(const char* format, double number) {
  char text[64];
  std::snprintf(text, sizeof text, format, number);
  return text;
}

}  // namespace

std::string table(const std::vector<std::string>& heading,
                  const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths(heading.size());
  std::vector<bool> right(heading.size(), !rows.empty());
  for (std::size_t i = 0; i < heading.size(); ++i) {
    widths[i] = width(heading[i]);
    for (const auto& row : rows) {
      widths[i] = std::max(widths[i], width(row[i]));
      right[i] = right[i] && (is_number(row[i]) || row[i] == "-");
    }
  }
  std::string all;
  const auto add = [&](const std::vector<std::string>& row) {
    for (std::size_t i = 0; i < heading.size(); ++i) {
      const std::string space(widths[i] - width(row[i]), ' ');
      if (right[i]) all += space;
      all += row[i];
      if (!right[i]) all += space;
      if (i + 1 < heading.size()) all += "  ";
    }
    all.erase(all.find_last_not_of(' ') + 1);
    all += '\n';
  };
  add(heading);
  for (const auto& row : rows) add(row);
  return all;
}

std::string readable_size(std::uint64_t bytes) {
  constexpr std::uint64_t step = 1024;
  if (bytes < step) return std::to_string(bytes) + " B";
  double size = static_cast<double>(bytes);
  const char* unit = "B";
  for (const char* next : {"KiB", "MiB", "GiB", "TiB"}) {
    if (size < 1023.95) break;
    size /= 1024;
    unit = next;
  }
  return formatted(size < 99.95 ? "%.1f " : "%.0f ", size) + unit;
}

std::string readable_ms(double ms) {
  if (ms < 10) return formatted("%.2f ms", ms);
  if (ms < 999.5) return formatted("%.0f ms", ms);
  if (ms < 59'995) return formatted("%.2f s", ms / 1000);
  const auto seconds = static_cast<std::int64_t>(ms / 1000);
  char text[64];
  std::snprintf(text, sizeof text, "%lld m %02lld s", static_cast<long long>(seconds / 60),
                static_cast<long long>(seconds % 60));
  return text;
}

std::string readable_count(std::int64_t count) {
  std::string text = std::to_string(count);
  const std::size_t first = count < 0 ? 1 : 0;
  for (std::size_t at = text.size(); at > first + 3;) {
    at -= 3;
    text.insert(at, ",");
  }
  return text;
}

std::string shell_word(std::string_view word) {
  constexpr std::string_view plain = "%+,-./:=@_";
  const bool is_plain = !word.empty() && std::ranges::all_of(word, [&](char c) {
    const bool digit = c >= '0' && c <= '9', lower = c >= 'a' && c <= 'z';
    return digit || lower || (c >= 'A' && c <= 'Z') || plain.contains(c);
  });
  if (is_plain) return std::string(word);
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? "'\\''" : std::string(1, c);
  return text + "'";
}

std::string harmless_lines(std::string_view text) {
  std::string all;
  for (;;) {
    const std::size_t end = text.find('\n');
    all += harmless(text.substr(0, end));
    if (end == text.npos) return all;
    all += '\n';
    text.remove_prefix(end + 1);
  }
}

std::string harmless(std::string_view text) {
  std::string all;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    // C1 controls (U+0080 to U+009F) are 0xC2 and then 0x80 to 0x9F in UTF-8.
    const bool c1 =
        c == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0;
    const bool control = (c < 0x20 && c != '\t') || c == 0x7F;
    if (c1) ++i;
    all += c1 || control ? std::string("?") : std::string(1, text[i]);
  }
  return all;
}

}  // namespace dormouse::cli
