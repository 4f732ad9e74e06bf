// Who sleeps when memory is short: the idle instance whose memory saves least.
#pragma once

#include <cstdint>

#include "base/time.h"

namespace dormouse::scheduling {

struct Holding {
  Duration idle{};
  Duration wake{};  // What waking it again is expected to cost.
  std::int64_t bytes = 0;
};

// Waking time saved per byte held. One that has been idle for long will, as a rule, be idle for as
// long again: the longer, the less likely it is wanted soon.
double saving_per_byte(const Holding&);

}  // namespace dormouse::scheduling
