// How the calling thread takes turns with others on a busy processor: asked of the kernel, which
// may not know how (Linux before 6.12 keeps its own slices); then nothing changes.
#pragma once

#include <cstddef>

#include "base/time.h"

namespace dormouse::async {

// It runs for so long at a time before others may interrupt it, 0.1 ms to 100 ms. Short is for
// threads that are woken often and do little, and for long computing that must not keep those from
// running. `nice`: 0 to 19, how far it steps back. Threads and processes that it makes do not
// inherit the slice: what a daemon starts must not keep it from the processor.
void take_turns(Duration slice, int nice);

inline constexpr Duration short_slice = std::chrono::microseconds(100);

// Says that so many steps of a long computation are done. A thread that steps back lets others run
// every few of them: by itself the kernel may look whether somebody waits only at its next tick,
// milliseconds later. On other threads it does nothing.
inline constexpr std::size_t steps_in_a_turn = 512;
void computed(std::size_t steps);

}  // namespace dormouse::async
