// A fork bomb, by what the kernel refuses it. A program that meets its limit of processes is told
// so (EAGAIN) and goes on with those it has; one that tries again at once, in each of its
// processes, keeps the kernel copying and discarding processes, which costs everybody else more
// than any computing. Pure.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/time.h"

namespace dormouse::sandbox {

class ForkStorm {
 public:
  // As many again as it may have: a program that starts a thread for each of many processors goes
  // without some of them.
  static constexpr std::uint64_t refused_max = 64;
  static constexpr Duration window = std::chrono::seconds(1);
  // Between two looks: in what is new or was refused some, and in all else.
  static constexpr Duration often = std::chrono::milliseconds(10);
  static constexpr Duration seldom = std::chrono::milliseconds(80);

  // `refused`: of all that it wanted to make so far. True if it is a bomb.
  bool tells(std::uint64_t refused, TimePoint now) {
    pause_ = pause_after(refused, now);
    last_refused_ = refused;
    last_look_ = now;
    if (now - since_ > window) {
      since_ = now;
      before_ = refused;
    }
    return refused - before_ >= refused_max;
  }

  Duration look_again() const { return pause_; }

 private:
  Duration pause_after(std::uint64_t refused, TimePoint now) {
    constexpr int first_looks = 5;
    if (now - last_look_ > 2 * seldom) looks_ = 0;  // It has rested.
    if (++looks_ < first_looks || refused > last_refused_) return often;
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
