#include "runtimes/llm/pattern.h"

#include <algorithm>

namespace dormouse::llm {
namespace {

class Pattern {
 public:
  explicit Pattern(std::string_view rest) : rest_(rest) {}

  std::optional<Problem> problem() {
    while (!rest_.empty()) {
      if (auto found = next(rest_.front())) return found;
    }
    if (depth_ != 0) return Problem{"a group has no end"};
    return std::nullopt;
  }

 private:
  std::optional<Problem> next(char c) {
    if (c == '[') return set();
    if (c == '{') return counts();
    if (c == '\\') {
      may_repeat_ = true;
      return escape("^$.[]()|{}*+?");
    }
    rest_.remove_prefix(1);
    return c == '(' || c == ')' ? group(c) : plain(c);
  }

  std::optional<Problem> plain(char c) {
    if (c == '^' || c == '$') return Problem{"^ and $ stand only at its ends", true};
    if (c == ']' || c == '}') return Problem{"] and } end nothing there"};
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
    return std::nullopt;
  }

  std::optional<Problem> set() {
    rest_.remove_prefix(1);
    while (!rest_.empty() && rest_.front() != ']') {
      if (rest_.front() != '\\') {
        rest_.remove_prefix(1);
      } else if (auto found = escape("")) {
        return found;
      }
    }
    if (rest_.empty()) return Problem{"a set [ has no end"};
    rest_.remove_prefix(1);
    may_repeat_ = true;
    return std::nullopt;
  }

  std::optional<Problem> counts() {
    const auto end = rest_.find('}');
    if (end == rest_.npos || !may_repeat_) return Problem{"{ counts nothing"};
    const std::string_view said = rest_.substr(1, end - 1);
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

  // Of `more`, or what a grammar has itself.
  std::optional<Problem> escape(std::string_view more) {
    constexpr std::string_view own = "trn\\\"[]-";
    const char next = rest_.size() > 1 ? rest_[1] : '\0';
    const std::size_t digits = next == 'x' ? 2 : next == 'u' ? 4 : next == 'U' ? 8 : 0;
    const auto is_hex = [](char c) {
      return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    };
    const std::string_view code = rest_.substr(std::min<std::size_t>(2, rest_.size()), digits);
    const bool is_code = digits > 0 && code.size() == digits && std::ranges::all_of(code, is_hex);
    if (!is_code && (next == '\0' || !(own.contains(next) || more.contains(next)))) {
      return Problem{
          "of \\… marks of patterns, \\t, \\r, \\n, \\x and \\u are followed: write [0-9] "
          "for \\d",
          true};
    }
    rest_.remove_prefix(2 + digits);
    return std::nullopt;
  }

  std::string_view rest_;
  int depth_ = 0;
  bool may_repeat_ = false;
};

}  // namespace

std::optional<Problem> problem_of(std::string_view pattern) {
  constexpr std::size_t bytes_max = 1000;
  if (pattern.size() < 2 || !pattern.starts_with('^') || !pattern.ends_with('$')) {
    return Problem{"only one from ^ to $ is followed", true};
  }
  if (pattern.size() > bytes_max) return Problem{"it has more than 1000 bytes"};
  return Pattern(pattern.substr(1, pattern.size() - 2)).problem();
}

}  // namespace dormouse::llm
