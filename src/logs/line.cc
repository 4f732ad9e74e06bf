#include "logs/line.h"

#include <algorithm>
#include <charconv>

namespace dormouse::logs {
namespace {

constexpr std::string_view nobody = "-";

template <class Number>
std::optional<Number> number(std::string_view text) {
  Number value{};
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool good = parsed.ec == std::errc() && parsed.ptr == text.data() + text.size();
  return good ? std::optional(value) : std::nullopt;
}

std::optional<std::string_view> take_word(std::string_view& rest) {
  const std::size_t space = rest.find(' ');
  if (space == rest.npos) return {};
  const std::string_view word = rest.substr(0, space);
  rest.remove_prefix(space + 1);
  return word;
}

std::string word(std::string_view text) {
  std::string out(text.empty() ? nobody : text.substr(0, 128));
  std::ranges::replace_if(out, [](unsigned char c) { return c <= ' '; }, '_');
  return out;
}

}  // namespace

std::string encode(const Line& line, std::size_t bytes_max) {
  std::string out = std::to_string(line.sequence) + ' ' + std::to_string(line.at.unix_ms) + ' ' +
                    std::to_string(line.revision) + ' ' + word(line.instance) + ' ' +
                    word(line.invocation) + ' ';
  const std::size_t start = out.size();
  out.append(line.text, 0, bytes_max);
  std::replace(out.begin() + static_cast<std::ptrdiff_t>(start), out.end(), '\n', ' ');
  if (line.text.size() > bytes_max) {
    out += " [cut: " + std::to_string(line.text.size()) + " bytes]";
  }
  return out + '\n';
}

std::string encode_all(const Line& lines, std::size_t bytes_max) {
  std::string out;
  Line each{lines.sequence, lines.at, lines.revision, lines.instance, lines.invocation, ""};
  std::string_view rest = lines.text;
  for (auto end = rest.find('\n'); end != rest.npos; end = rest.find('\n')) {
    each.text.assign(rest.substr(0, end));
    out += encode(each, bytes_max);
    ++each.sequence;
    rest.remove_prefix(end + 1);
  }
  each.text.assign(rest);
  return out += encode(each, bytes_max);
}

std::optional<Line> decode(std::string_view rest) {
  std::string_view words[5];
  for (std::string_view& one : words) {
    const auto taken = take_word(rest);
    if (!taken) return {};
    one = *taken;
  }
  const auto sequence = number<std::uint64_t>(words[0]);
  const auto at = number<std::int64_t>(words[1]);
  const auto revision = number<std::int32_t>(words[2]);
  if (!sequence || !at || !revision) return {};
  const std::string_view invocation = words[4] == nobody ? "" : words[4];
  return Line{*sequence,        {*at}, *revision, std::string(words[3]), std::string(invocation),
              std::string(rest)};
}

std::optional<std::uint64_t> sequence_of(std::string_view line) {
  const auto word = take_word(line);
  return word ? number<std::uint64_t>(*word) : std::nullopt;
}

std::size_t begin_after(std::string_view file, std::uint64_t sequence) {
  // Between `low`, where a line begins that may be wanted or not, and `high`, from where on all
  // are.
  std::size_t low = 0, high = file.size();
  while (low < high) {
    const std::size_t middle = low + (high - low) / 2;
    const std::size_t before = middle == 0 ? file.npos : file.rfind('\n', middle - 1);
    const std::size_t begin = before == file.npos || before < low ? low : before + 1;
    const std::size_t end = std::min(file.find('\n', begin), file.size() - 1) + 1;
    const auto found = sequence_of(file.substr(begin, end - begin));
    if (found && *found > sequence) {
      high = begin;
    } else {
      low = end;
    }
  }
  return low;
}

std::size_t begin_of_last(std::string_view file, std::size_t lines_max) {
  std::size_t begin = file.size();
  for (std::size_t lines = 0; lines < lines_max && begin > 0; ++lines) {
    const std::size_t before = begin < 2 ? file.npos : file.rfind('\n', begin - 2);
    begin = before == file.npos ? 0 : before + 1;
  }
  return begin;
}

}  // namespace dormouse::logs
