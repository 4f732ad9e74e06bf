// A fork bomb, by what the kernel refuses it. A program that meets its limit of processes is told
// so (EAGAIN) and goes on with those it has; one that tries again at once, in each of its
// processes, keeps the kernel copying and discarding processes, which costs everybody else more
// than any computing. Threads are not copied so, and a server that may not start one for each call
// is told the same. Pure.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/time.h"

namespace dormouse::sandbox {

class ForkStorm {
 public:
  // In so short a time: a server that starts a process for each call, and has all that it may have,
  // is refused fewer.
  static constexpr std::uint64_t refused_max = 64;
  static constexpr Duration window = std::chrono::milliseconds(250);
  // Between two looks: in what is new, has many processes or was refused some, and at most.
  static constexpr Duration often = std::chrono::milliseconds(10);
  static constexpr Duration seldom = std::chrono::milliseconds(320);

  // `refused`: of all that it wanted to make so far. `is_crowded`: it has half of those that it may
  // have, or more. True if the refusals came together as a bomb's do.
  bool tells(std::uint64_t refused, bool is_crowded, TimePoint now) {
    pause_ = pause_after(refused, is_crowded, now);
    last_refused_ = refused;
    last_look_ = now;
    if (now - since_ > window) {
      since_ = now;
      before_ = refused;
    }
    return refused - before_ >= refused_max;
  }
  // And if so many of the processes that it may have are not threads of others.
  static bool is_made_of(std::uint64_t processes, std::uint64_t processes_max) {
    return 2 * processes >= processes_max;
  }

  Duration look_again() const { return pause_; }

 private:
  Duration pause_after(std::uint64_t refused, bool is_crowded, TimePoint now) {
    constexpr int first_looks = 5;
    if (now - last_look_ > 2 * seldom) looks_ = 0;  // It has rested.
    if (++looks_ < first_looks || refused > last_refused_ || is_crowded) return often;
    return std::min(2 * pause_, seldom);
  }

  TimePoint since_{};
  std::uint64_t before_ = 0;
  std::uint64_t last_refused_ = 0;
  TimePoint last_look_{};
  int looks_ = 0;
  Duration pause_ = often;
};

}  // namespace dormouse::sandbox
