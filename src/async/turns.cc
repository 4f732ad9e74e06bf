#include "async/turns.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

#ifndef SCHED_FLAG_RESET_ON_FORK
#define SCHED_FLAG_RESET_ON_FORK 0x01
#endif

namespace dormouse::async {
namespace {

// As sched_setattr(2) describes it: the kernel's header for it cannot be included beside glibc's.
struct SchedulingAttributes {
  std::uint32_t size = sizeof(SchedulingAttributes);
  std::uint32_t policy = 0;  // SCHED_OTHER
  std::uint64_t flags = SCHED_FLAG_RESET_ON_FORK;
  std::int32_t nice = 0;
  std::uint32_t priority = 0;
  std::uint64_t runtime_ns = 0;
  std::uint64_t deadline_ns = 0;
  std::uint64_t period_ns = 0;
};

thread_local bool steps_back = false;

}  // namespace

void take_turns(Duration slice, int nice) {
  SchedulingAttributes attributes;
  attributes.nice = nice;
  attributes.runtime_ns = static_cast<std::uint64_t>(std::chrono::nanoseconds(slice).count());
  // Nothing depends on it, and no program stops for want of it.
  static_cast<void>(syscall(SYS_sched_setattr, 0, &attributes, 0));
  steps_back = nice > 0;
}

void computed(std::size_t steps) {
  thread_local std::size_t since = 0;
  if (!steps_back) return;
  since += steps;
  if (since < steps_in_a_turn) return;
  since = 0;
  sched_yield();
}

}  // namespace dormouse::async
