// Replays a trace through the scheduler that runs in the daemon, in virtual time.
//
// As in the published comparisons, a function is busy for the whole of each minute in which it was
// invoked, needs one instance, and wakes in no time; what is loaded and not busy is idle.
#pragma once

#include "base/time.h"
#include "trace.h"

namespace dormouse::sim {

struct Rules {
  Duration keep_alive{};
  std::int64_t node_bytes = 0;  // 0: more than all functions together need.
};

struct Outcome {
  std::int64_t calls = 0;  // One for each busy minute.
  std::int64_t cold_starts = 0;
  std::int64_t refused = 0;
  std::int64_t events = 0;
  double busy_gigabyte_minutes = 0;
  double idle_gigabyte_minutes = 0;
};

Outcome replay(const Trace&, const Rules&);

}  // namespace dormouse::sim
