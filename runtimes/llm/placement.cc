#include "runtimes/llm/placement.h"

#include <sched.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <string>
#include <utility>

namespace dormouse::llm {

std::vector<pid_t> other_threads() {
  std::vector<pid_t> threads;
  std::error_code failed;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task", failed)) {
    const std::string name = entry.path().filename();
    pid_t thread = 0;
    std::from_chars(name.data(), name.data() + name.size(), thread);
    if (thread > 0 && thread != gettid()) threads.push_back(thread);
  }
  return threads;
}

void Placement::take(std::vector<pid_t> others) {
  release();
  others_ = std::move(others);
}

void Placement::part() {
  if (others_.empty() || sched_getaffinity(0, sizeof allowed_, &allowed_) != 0) return;
  cpu_set_t elsewhere = allowed_;
  const int here = sched_getcpu();
  if (here < 0 || here >= CPU_SETSIZE) return;
  CPU_CLR(here, &elsewhere);
  if (CPU_COUNT(&elsewhere) == 0) return;
  allow(elsewhere);
  is_parted_ = true;
}

void Placement::let_go() {
  if (is_parted_.exchange(false)) allow(allowed_);
}

// A thread that has ended needs no place.
void Placement::allow(const cpu_set_t& processors) const {
  for (const pid_t thread : others_)
    (void)sched_setaffinity(thread, sizeof processors, &processors);
}

Placement& placement() {
  static Placement only;
  return only;
}

}  // namespace dormouse::llm
