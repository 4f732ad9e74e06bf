// How many instances to wake: only as many as bring a waiting call to a slot sooner than waiting.
#pragma once

#include <cstdint>

#include "base/time.h"

namespace dormouse::scheduling {

struct Demand {
  std::int64_t queued = 0;        // Calls without a slot.
  std::int64_t slots = 0;         // Of the instances that serve; all taken, or nothing would queue.
  std::int64_t slots_waking = 0;  // Of those that are on their way.
  std::int64_t concurrency = 1;   // Slots of one more instance.
  bool one_call = false;          // No slot is free again.
  Duration run{};                 // Of one call, expected.
  Duration wake{};                // Of one instance, expected.
  Duration running_for{};         // Mean age of the calls that run.
  double cpu_share = 1;           // CPU time / run time of one call.
  double cpus = 0;                // Of the node; 0: unknown, no ceiling.
};

// The wait for a slot of a call that comes last, with those already waking counted as slots.
Duration expected_wait(const Demand&);

std::int64_t instances_to_wake(const Demand&);

// Means that follow what was seen lately. Until something was seen, a guess.
struct Learned {
  static constexpr Duration run_guess = std::chrono::milliseconds(100);
  static constexpr Duration wake_guess = std::chrono::milliseconds(500);
  static constexpr Duration fork_guess = std::chrono::milliseconds(10);

  void ran(Duration run, Duration cpu);
  void woke(Duration wake);
  void forked(Duration wake);  // From a template.
  // It ran at least as long and was cut off.
  void ran_into_deadline(Duration run);

  Duration run_expected() const { return runs ? Duration(std::int64_t(run_us)) : run_guess; }
  Duration wake_expected() const { return wakes ? Duration(std::int64_t(wake_us)) : wake_guess; }
  Duration fork_expected() const { return forks ? Duration(std::int64_t(fork_us)) : fork_guess; }
  double cpu_share() const;  // A function never seen may well compute all the time: 1.

  std::int64_t runs = 0, wakes = 0, forks = 0;
  double run_us = 0, cpu_us = 0, wake_us = 0, fork_us = 0;
};

}  // namespace dormouse::scheduling
