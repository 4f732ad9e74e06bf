// Where the threads that compute a step begin. The kernel wakes a thread where it ran last, or near
// whoever wakes it; among few processors that is now and then the one on which the waking thread
// computes itself, and up to 20 ms pass until the kernel finds that another has nothing to do. So
// after a rest the others are woken anywhere but there. Afterwards they may run where they could
// before.
//
// Threads  One, the one that computes with the others, but for release().
#pragma once

#include <sched.h>
#include <sys/types.h>

#include <atomic>
#include <vector>

namespace dormouse::llm {

// The threads that this process has beside the calling one.
std::vector<pid_t> other_threads();

class Placement {
 public:
  // From now on it is about these, which compute with the calling thread. None computes.
  void take(std::vector<pid_t> others);

  // None computes. Until release(), they are not woken on the processor that the caller is on, if
  // it may use another. Where the kernel does not let them be placed, they are woken as it likes.
  void part();
  // Any thread: they are awake. Costs nothing if they are not parted.
  void release() {
    if (is_parted_.load(std::memory_order_relaxed)) let_go();
  }

 private:
  void let_go();
  void allow(const cpu_set_t&) const;

  std::vector<pid_t> others_;
  cpu_set_t allowed_{};  // The caller's own, while they are parted.
  std::atomic<bool> is_parted_ = false;
};

// Of the threads of this process's one model that computes.
Placement& placement();

}  // namespace dormouse::llm
