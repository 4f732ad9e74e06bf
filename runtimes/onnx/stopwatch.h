// How long something took: by the clock, or of this process's processor time, which hardly depends
// on what else the machine is doing and so is what to compare by.
#pragma once

#include <ctime>

#include "base/time.h"

namespace dormouse::onnx {

class Stopwatch {
 public:
  enum class By : std::uint8_t { clock, processor };

  explicit Stopwatch(By by = By::clock)
      : clock_(by == By::clock ? CLOCK_MONOTONIC : CLOCK_PROCESS_CPUTIME_ID), began_(now()) {}
  std::chrono::nanoseconds elapsed_ns() const { return now() - began_; }
  Duration elapsed() const { return std::chrono::duration_cast<Duration>(elapsed_ns()); }

 private:
  std::chrono::nanoseconds now() const {
    timespec time{};
    clock_gettime(clock_, &time);
    return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
  }

  clockid_t clock_;
  std::chrono::nanoseconds began_;
};

// What work on `threads` threads is measured by: on several, waiting for each other counts.
inline Stopwatch::By measure_of(int threads) {
  return threads == 1 ? Stopwatch::By::processor : Stopwatch::By::clock;
}

}  // namespace dormouse::onnx
