#include "runtimes/llm/pattern.h"

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

namespace dormouse::llm {
namespace {

struct Range {
  char32_t first, last;
};
// What a string in JSON has only escaped, and what is no character.
constexpr std::array<Range, 4> never{{{0, 0x1F}, {'"', '"'}, {'\\', '\\'}, {0xD800, 0xDFFF}}};
constexpr Problem needs_escape{
    "a quote, a backslash, a control character or half of a pair (\\uD800 to \\uDFFF) is not "
    "followed"};

bool is_never(char32_t c) {
  return std::ranges::any_of(never, [c](Range each) { return each.first <= c && c <= each.last; });
}

// "a" or "\U0001F600", as grammars write it.
void append_code(std::string& out, char32_t c) {
  const bool is_plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
  if (is_plain) {
    out += static_cast<char>(c);
    return;
  }
  constexpr std::string_view digits = "0123456789ABCDEF";
  out += "\\U";
  for (int shift = 28; shift >= 0; shift -= 4) out += digits[(c >> shift) & 15];
}

void append_range(std::string& out, Range range) {
  append_code(out, range.first);
  if (range.first == range.last) return;
  out += '-';
  append_code(out, range.last);
}

// What is left of a range without what is never there.
void append_allowed(std::string& out, Range range) {
  for (const Range& gap : never) {
    if (gap.last < range.first || gap.first > range.last) continue;
    if (gap.first > range.first) append_range(out, {range.first, gap.first - 1});
    if (gap.last >= range.last) return;
    range.first = gap.last + 1;
  }
  append_range(out, range);
}

class Pattern {
 public:
  explicit Pattern(std::string_view rest) : rest_(rest) {}

  std::expected<std::string, Problem> followed() {
    while (!rest_.empty()) {
      if (const auto found = next(rest_.front())) return std::unexpected(*found);
    }
    if (depth_ != 0) return std::unexpected(Problem{"a group has no end"});
    return std::move(out_);
  }

 private:
  std::optional<Problem> next(char c) {
    if (c == '[') return set();
    if (c == '{') return counts();
    if (c == '\\') return escaped();
    rest_.remove_prefix(1);
    if (c == '.') {
      may_repeat_ = true;
      append_set({}, true);
      return std::nullopt;
    }
    out_ += c;
    return c == '(' || c == ')' ? group(c) : plain(c);
  }

  std::optional<Problem> plain(char c) {
    if (c == '^' || c == '$') return Problem{"^ and $ stand only at its ends", true};
    if (c == ']' || c == '}') return Problem{"] and } end nothing there"};
    if (c == '"' || static_cast<unsigned char>(c) < 0x20) return needs_escape;
    const bool repeats = c == '*' || c == '+' || c == '?';
    if (repeats && !may_repeat_) {
      return Problem{"there is nothing to repeat, or it is repeated twice"};
    }
    may_repeat_ = !repeats && c != '|';
    return std::nullopt;
  }

  std::optional<Problem> group(char c) {
    constexpr int depth_max = 20;
    may_repeat_ = c == ')';
    depth_ += c == '(' ? 1 : -1;
    if (depth_ < 0) return Problem{"a group ) has no begin"};
    if (depth_ > depth_max) return Problem{"its groups are more than 20 deep"};
    if (c == ')' || !rest_.starts_with('?')) return std::nullopt;
    if (!rest_.starts_with("?:")) return Problem{"of (?…) only (?:…) is followed", true};
    rest_.remove_prefix(2);
    out_ += "?:";
    return std::nullopt;
  }

  std::optional<Problem> set() {
    rest_.remove_prefix(1);
    const bool is_negated = rest_.starts_with('^');
    if (is_negated) rest_.remove_prefix(1);
    std::vector<Range> ranges;
    while (!rest_.empty() && rest_.front() != ']') {
      const auto first = member();
      if (!first) return first.error();
      const bool is_range = rest_.size() > 1 && rest_[0] == '-' && rest_[1] != ']';
      if (is_range) rest_.remove_prefix(1);
      const auto last = is_range ? member() : first;
      if (!last) return last.error();
      if (*last < *first) return Problem{"a range in a set is out of order"};
      ranges.push_back({*first, *last});
    }
    if (rest_.empty()) return Problem{"a set [ has no end"};
    rest_.remove_prefix(1);
    may_repeat_ = true;
    return append_set(ranges, is_negated) ? std::nullopt : std::optional(needs_escape);
  }

  // False if it is of nothing.
  bool append_set(const std::vector<Range>& ranges, bool is_negated) {
    std::string inside;
    for (const Range& range : ranges) {
      is_negated ? append_range(inside, range) : append_allowed(inside, range);
    }
    for (const Range& range : never) {
      if (is_negated) append_range(inside, range);
    }
    out_ += (is_negated ? "[^" : "[") + inside + "]";
    return !inside.empty();
  }

  // One character of a set.
  std::expected<char32_t, Problem> member() {
    if (rest_.starts_with('\\')) return escape("");
    const auto lead = static_cast<unsigned char>(rest_.front());
    const std::size_t size = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    char32_t c = size == 1 ? lead : lead & (0x7Fu >> size);
    for (std::size_t i = 1; i < size && i < rest_.size(); ++i) {
      c = c << 6 | (static_cast<unsigned char>(rest_[i]) & 0x3F);
    }
    rest_.remove_prefix(std::min(size, rest_.size()));
    return c;
  }

  std::optional<Problem> counts() {
    const auto end = rest_.find('}');
    if (end == rest_.npos || !may_repeat_) return Problem{"{ counts nothing"};
    const std::string_view said = rest_.substr(1, end - 1);
    out_ += rest_.substr(0, end + 1);
    rest_.remove_prefix(end + 1);
    may_repeat_ = false;
    const auto comma = std::min(said.find(','), said.size());
    const auto least = count_of(said.substr(0, comma));
    const std::string_view behind = said.substr(std::min(comma + 1, said.size()));
    const auto most = comma == said.size() ? least
                      : behind.empty()     ? std::optional(times_max)
                                           : count_of(behind);
    if (least && most && *least <= *most) return std::nullopt;
    return Problem{"a count is {n}, {n,} or {n,m}, in order, and at most 2000"};
  }

  static std::optional<std::int64_t> count_of(std::string_view digits) {
    constexpr std::size_t digits_max = 4;
    std::int64_t value = 0;
    if (digits.empty() || digits.size() > digits_max) return std::nullopt;
    for (const char c : digits) {
      if (c < '0' || c > '9') return std::nullopt;
      value = value * 10 + (c - '0');
    }
    return value <= times_max ? std::optional(value) : std::nullopt;
  }

  // Outside of sets.
  std::optional<Problem> escaped() {
    constexpr std::string_view marks = "^$.[]()|{}*+?";
    const std::string_view as_it_is = rest_.substr(0, 2);
    const auto c = escape(marks);
    if (!c) return c.error();
    if (is_never(*c)) return needs_escape;
    may_repeat_ = true;
    if (marks.contains(as_it_is.back())) {
      out_ += as_it_is;
      return std::nullopt;
    }
    out_ += '[';
    append_code(out_, *c);
    out_ += ']';
    return std::nullopt;
  }

  // Of `more`, or what a grammar has itself.
  std::expected<char32_t, Problem> escape(std::string_view more) {
    constexpr std::string_view own = "trn\\\"[]-", spaces = "trn", meant = "\t\r\n";
    const char next = rest_.size() > 1 ? rest_[1] : '\0';
    const std::size_t digits = next == 'x' ? 2 : next == 'u' ? 4 : next == 'U' ? 8 : 0;
    const auto is_hex = [](char c) {
      return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    };
    const std::string_view code = rest_.substr(std::min<std::size_t>(2, rest_.size()), digits);
    const bool is_code = digits > 0 && code.size() == digits && std::ranges::all_of(code, is_hex);
    if (!is_code && (next == '\0' || !(own.contains(next) || more.contains(next)))) {
      return std::unexpected(
          Problem{"of \\… marks of patterns, \\t, \\r, \\n, \\x and \\u are followed: write [0-9] "
                  "for \\d",
                  true});
    }
    rest_.remove_prefix(2 + digits);
    const auto space = spaces.find(next);
    if (space != spaces.npos) return static_cast<char32_t>(meant[space]);
    if (!is_code) return static_cast<char32_t>(next);
    char32_t value = 0;
    for (const char c : code) {
      value = value * 16 + static_cast<char32_t>(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    constexpr char32_t last = 0x10FFFF;
    return value > last ? std::unexpected(needs_escape) : std::expected<char32_t, Problem>(value);
  }

  std::string_view rest_;
  std::string out_;
  int depth_ = 0;
  bool may_repeat_ = false;
};

}  // namespace

std::expected<std::string, Problem> followed_pattern(std::string_view pattern) {
  constexpr std::size_t bytes_max = 1000;
  if (pattern.size() < 2 || !pattern.starts_with('^') || !pattern.ends_with('$')) {
    return std::unexpected(Problem{"only one from ^ to $ is followed", true});
  }
  if (pattern.size() > bytes_max) return std::unexpected(Problem{"it has more than 1000 bytes"});
  auto inside = Pattern(pattern.substr(1, pattern.size() - 2)).followed();
  if (!inside) return inside;
  return "^" + *inside + "$";
}

}  // namespace dormouse::llm
