// When a function that does not start may be started again: 1, 2, 4 .. 60 s after each failure in
// a row. A start that succeeds forgets them all. One whose instances have to be ended for everybody
// else's sake waits for 2, 4, 8 .. 60 s, so that it takes little of the time; what works in between
// forgives nothing of that, only ten minutes without.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/result.h"
#include "base/time.h"

namespace dormouse::scheduling {

// After so many in a row.
constexpr Duration backoff(std::int32_t failures) {
  using std::chrono::seconds;
  if (failures <= 0) return Duration(0);
  return std::min<Duration>(seconds(1 << std::min(failures - 1, 6)), seconds(60));
}

inline constexpr Duration harm_is_forgotten = std::chrono::minutes(10);

struct Backoff {
  // Starts that were under way together fail together: they count as one.
  void failed(TimePoint began, TimePoint now, Error why);
  void succeeded();
  void did_harm(TimePoint now, Error why);  // What comes while it is held back counts as one.

  TimePoint next_start_at() const { return std::max(after_failures, after_harm); }
  const Error& why() const { return after_harm > after_failures ? last_harm : last; }
  bool holds(TimePoint now) const { return now < next_start_at(); }

  std::int32_t failures = 0;
  TimePoint after_failures{};
  TimePoint last_failure_at = TimePoint::min();
  std::int32_t harms = 0;
  TimePoint after_harm{};
  TimePoint last_harm_at{};
  Error last_harm{Code::unavailable, ""};
  Error last{Code::function_failed, ""};
};

// What a Retry-After header can say: whole seconds, at least one.
Duration whole_seconds(Duration);

}  // namespace dormouse::scheduling
