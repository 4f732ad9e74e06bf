// Where the threads that compute a step of a model wait for each other, some hundred times in each.
// In llama.cpp's own barrier whoever waits looks without end whether the others have come. When one
// of them has lost its processor to another program, those who look keep the processors on which it
// could go on until its turn comes again, some milliseconds later: beside one program that needs a
// processor, a token takes many times as long. Here they sleep, for as long as there is a crowd.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace dormouse::llm {

using SteadyClock = std::chrono::steady_clock;

// Whether others want the processors that these threads compute on. A hypervisor that takes one
// away is no crowd: there, to be woken takes long, and sleeping helps nobody. Pure.
class Crowd {
 public:
  // Beside a program that needs a processor they lose theirs each 4 ms; alone, each 15 ms.
  static constexpr auto lost_each = std::chrono::milliseconds(7);
  static constexpr auto seen_for_least = std::chrono::milliseconds(20),
                        seen_for_most = std::chrono::milliseconds(200),
                        lasts = std::chrono::milliseconds(500);

  // At `now` somebody has waited for long, and all threads had lost their processors to others
  // `lost` times. Afterwards there is a crowd until then, or none.
  void long_wait(SteadyClock::time_point now, std::int64_t lost);
  SteadyClock::time_point until() const { return until_; }

 private:
  SteadyClock::time_point since_, until_;
  std::int64_t lost_ = 0;  // At since_.
};

class Barrier {
 public:
  // Threads with a processor each hardly ever come so far apart.
  static constexpr auto patience = std::chrono::milliseconds(1);
  // How long they look before they sleep, in a crowd.
  static constexpr auto patience_in_a_crowd = std::chrono::microseconds(20);

  // Of the next uses. Nobody may be in it, or have yet to come to it.
  void set_threads(int count) { threads_.store(count, std::memory_order_relaxed); }

  // Returns once as many have come as there are threads. What each wrote before, all see
  // afterwards.
  void arrive_and_wait();

 private:
  bool sees_them_come(int passed);
  bool is_crowded(SteadyClock::time_point now) const { return now < crowded_until_.load(); }
  void look_for_a_crowd(SteadyClock::time_point now);

  std::atomic<int> threads_ = 1, arrived_ = 0;
  std::atomic<SteadyClock::time_point> crowded_until_{};
  std::atomic_flag somebody_looks_;  // For a crowd.
  Crowd crowd_;
  alignas(64) std::atomic<int> passed_ = 0;  // How often all have come.
};

}  // namespace dormouse::llm
