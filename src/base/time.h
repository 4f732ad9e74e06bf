// Time as the pure code sees it: a value that is passed in, never read from the system.
#pragma once

#include <chrono>
#include <cstdint>

namespace dormouse {

using Duration = std::chrono::microseconds;

struct MonotonicClock {  // Only names the type; it has no now().
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<MonotonicClock, duration>;
  static constexpr bool is_steady = true;
};
using TimePoint = MonotonicClock::time_point;
inline constexpr TimePoint never = TimePoint::max();

// Milliseconds since 1970 UTC: for people and for invocation ids, never for measuring.
struct WallTime {
  std::int64_t unix_ms = 0;
  friend auto operator<=>(const WallTime&, const WallTime&) = default;
};

}  // namespace dormouse
