#include "control/quantities.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <numeric>
#include <vector>

namespace dormouse::control {
namespace {

// A decimal number, kept as digits and a scale so that nothing is rounded: "0.1s"
// is exactly 100 ms and what does not divide evenly is found.
struct Decimal {
  std::int64_t digits = 0;
  std::int64_t scale = 1;  // The number is digits / scale.
};

constexpr std::int64_t digits_max = 1'000'000'000'000'000;
constexpr std::int64_t scale_max = 1'000'000;

// Takes a number from the front of `text`; false if there is none, or one too long.
bool take_decimal(std::string_view& text, Decimal& number) {
  const std::size_t size = text.size();
  bool fraction = false;
  std::size_t seen = 0;
  while (!text.empty() && (text[0] == '.' || (text[0] >= '0' && text[0] <= '9'))) {
    if (text[0] == '.') {
      if (fraction || text.size() == size) return false;
      fraction = true;
    } else {
      ++seen;
      number.digits = number.digits * 10 + (text[0] - '0');
      if (fraction) number.scale *= 10;
      if (number.digits > digits_max || number.scale > scale_max) return false;
    }
    text.remove_prefix(1);
  }
  return seen > 0;
}

struct Unit {
  std::string_view name;
  std::int64_t factor;
};

constexpr std::array<Unit, 6> sizes{{{"KiB", 1LL << 10},
                                     {"MiB", 1LL << 20},
                                     {"GiB", 1LL << 30},
                                     {"TiB", 1LL << 40},
                                     {"B", 1},
                                     {"", 1}}};
constexpr std::array<Unit, 6> durations{{{"us", 1},
                                         {"ms", 1'000},
                                         {"s", 1'000'000},
                                         {"m", 60'000'000},
                                         {"h", 3'600'000'000},
                                         {"d", 86'400'000'000}}};

// digits / scale × factor, if that is whole and fits.
bool scaled(const Decimal& number, std::int64_t factor, std::int64_t& out) {
  std::int64_t product = 0;
  if (__builtin_mul_overflow(number.digits, factor, &product)) return false;
  if (product % number.scale != 0) return false;
  out = product / number.scale;
  return true;
}

const Unit* find_unit(std::span<const Unit> units, std::string_view name) {
  const auto found = std::ranges::find(units, name, &Unit::name);
  return found == units.end() ? nullptr : &*found;
}

Error not_a(std::string_view what, std::string_view text, std::string_view form) {
  return {Code::invalid_argument, "\"" + std::string(text) + "\" is not " + std::string(what) +
                                      "; write " + std::string(form)};
}

std::string with_fraction(std::int64_t whole, std::int64_t rest, int digits) {
  std::string text = std::to_string(whole);
  if (rest == 0) return text;
  std::string fraction = std::to_string(rest);
  fraction.insert(0, static_cast<std::size_t>(digits) - fraction.size(), '0');
  fraction.erase(fraction.find_last_not_of('0') + 1);
  return text + "." + fraction;
}

}  // namespace

Result<std::int64_t> parse_size(std::string_view text) {
  std::string_view rest = text;
  Decimal number;
  std::int64_t bytes = 0;
  const Unit* unit = take_decimal(rest, number) ? find_unit(sizes, rest) : nullptr;
  if (unit == nullptr || !scaled(number, unit->factor, bytes)) {
    return not_a("a size", text, "bytes, or a number with KiB, MiB, GiB or TiB, as in \"512MiB\"");
  }
  return bytes;
}

std::string size_text(std::int64_t bytes) {
  for (const std::string_view name : {"TiB", "GiB", "MiB", "KiB"}) {
    const std::int64_t factor = find_unit(sizes, name)->factor;
    if (bytes != 0 && bytes % factor == 0) {
      return std::to_string(bytes / factor) + std::string(name);
    }
  }
  return std::to_string(bytes);
}

Result<Duration> parse_duration(std::string_view text) {
  constexpr std::int64_t most = 10LL * 366 * 86'400'000'000;
  const Error bad =
      not_a("a duration", text, "a number with us, ms, s, m, h or d, as in \"30s\" or \"1h30m\"");
  std::string_view rest = text;
  std::int64_t total = 0;
  do {
    Decimal number;
    if (!take_decimal(rest, number)) return bad;
    const auto letters = std::min(rest.find_first_of("0123456789."), rest.size());
    const Unit* unit = find_unit(durations, rest.substr(0, letters));
    std::int64_t part = 0;
    if (unit == nullptr || !scaled(number, unit->factor, part)) return bad;
    if (part > most - total) return bad;
    total += part;
    rest.remove_prefix(letters);
  } while (!rest.empty());
  return Duration(total);
}

std::string duration_text(Duration duration) {
  std::int64_t rest = duration.count();
  if (rest == 0) return "0s";
  if (rest < 1'000) return std::to_string(rest) + "us";
  if (rest < 1'000'000) return with_fraction(rest / 1'000, rest % 1'000, 3) + "ms";
  std::string text;
  for (const std::string_view name : {"d", "h", "m"}) {
    const std::int64_t factor = find_unit(durations, name)->factor;
    if (rest >= factor) text += std::to_string(rest / factor) + std::string(name);
    rest %= factor;
  }
  if (rest > 0) text += with_fraction(rest / 1'000'000, rest % 1'000'000, 6) + "s";
  return text;
}

Result<std::int64_t> parse_millicores(std::string_view text) {
  std::string_view rest = text;
  Decimal number;
  std::int64_t millicores = 0;
  const bool read = take_decimal(rest, number) && (rest.empty() || rest == "m");
  if (!read || !scaled(number, rest == "m" ? 1 : 1000, millicores)) {
    return not_a("a share of CPUs", text, "cores, as in \"2\" or \"0.5\", or \"500m\"");
  }
  return millicores;
}

std::string millicores_text(std::int64_t millicores) {
  return with_fraction(millicores / 1000, millicores % 1000, 3);
}

Result<WallTime> parse_time(std::string_view text) {
  const Error bad = not_a("a time", text, "\"2026-11-24\" or \"2026-11-24T08:30:31Z\" (UTC)");
  constexpr std::string_view shape = "dddd-dd-ddTdd:dd:dd";
  const std::size_t used = text.size() == 10 ? 10 : shape.size();
  if (text.size() < used) return bad;
  for (std::size_t i = 0; i < used; ++i) {
    const bool digit = text[i] >= '0' && text[i] <= '9';
    if (shape[i] == 'd' ? !digit : text[i] != shape[i]) return bad;
  }
  const auto number = [&](std::size_t at, std::size_t size) {
    int value = 0;
    std::from_chars(text.data() + at, text.data() + at + size, value);
    return value;
  };
  const std::chrono::year_month_day day{std::chrono::year(number(0, 4)),
                                        std::chrono::month(static_cast<unsigned>(number(5, 2))),
                                        std::chrono::day(static_cast<unsigned>(number(8, 2)))};
  if (!day.ok()) return bad;
  std::int64_t ms = std::chrono::sys_days(day).time_since_epoch().count() * 86'400'000LL;
  if (used == 10) return WallTime{ms};
  const int hour = number(11, 2), minute = number(14, 2), second = number(17, 2);
  if (hour > 23 || minute > 59 || second > 59) return bad;
  ms += ((hour * 60LL + minute) * 60 + second) * 1000;
  std::string_view rest = text.substr(used);
  if (rest.size() == 5 && rest[0] == '.' &&
      std::ranges::all_of(rest.substr(1, 3), [](char c) { return c >= '0' && c <= '9'; })) {
    ms += number(used + 1, 3);
    rest.remove_prefix(4);
  }
  if (rest != "Z") return bad;
  return WallTime{ms};
}

std::string time_text(WallTime time) {
  using namespace std::chrono;
  const sys_time<milliseconds> instant{milliseconds(time.unix_ms)};
  const sys_days date = floor<days>(instant);
  const year_month_day day(date);
  const hh_mm_ss clock(instant - date);
  char text[64];
  std::snprintf(
      text, sizeof text, "%04d-%02u-%02uT%02d:%02d:%02d.%03dZ", static_cast<int>(day.year()),
      static_cast<unsigned>(day.month()), static_cast<unsigned>(day.day()),
      static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
      static_cast<int>(clock.seconds().count()), static_cast<int>(clock.subseconds().count()));
  return text;
}

namespace {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row.back();
}

}  // namespace

std::string_view nearest(std::string_view name, std::span<const std::string_view> names) {
  constexpr std::size_t name_bytes_max = 64;
  if (name.size() > name_bytes_max) return {};
  std::string_view best;
  std::size_t least = std::max<std::size_t>(2, name.size() / 3) + 1;
  for (const std::string_view candidate : names) {
    // min_instances for instances_min and the like: one is inside the other.
    const bool inside = name.size() >= 3 && candidate.find(name) != candidate.npos;
    const std::size_t distance = inside ? 1 : edit_distance(name, candidate);
    if (distance < least && distance < std::max(name.size(), candidate.size())) {
      least = distance;
      best = candidate;
    }
  }
  return best;
}

Error unknown_name(std::string_view what, std::string_view name,
                   std::span<const std::string_view> names) {
  constexpr std::size_t shown_max = 64;
  std::string message =
      "unknown " + std::string(what) + " \"" + std::string(name.substr(0, shown_max)) + "\"; ";
  if (const auto meant = nearest(name, names); !meant.empty()) {
    return {Code::invalid_argument, message + "did you mean \"" + std::string(meant) + "\"?"};
  }
  message += "known are";
  for (const std::string_view known : names) {
    message += (known == names.front() ? " " : ", ") + std::string(known);
  }
  if (names.empty()) message += " none";
  return {Code::invalid_argument, message};
}

}  // namespace dormouse::control
