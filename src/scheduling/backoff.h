// When a function that does not start may be started again: 1, 2, 4 .. 60 s after each failure in
// a row. A start that succeeds forgets them all.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "base/time.h"

namespace dormouse::scheduling {

Duration backoff(std::int32_t failures);  // After so many in a row.

struct Backoff {
  // Starts that were under way together fail together: they count as one.
  void failed(TimePoint began, TimePoint now, Error why);
  void succeeded() { *this = {}; }

  bool holds(TimePoint now) const { return now < next_start_at; }

  std::int32_t failures = 0;
  TimePoint next_start_at{};
  TimePoint last_failure_at = TimePoint::min();
  Error last{Code::function_failed, ""};
};

// What a Retry-After header can say: whole seconds, at least one.
Duration whole_seconds(Duration);

}  // namespace dormouse::scheduling
