#include "runtimes/llm/placement.h"

#include <sched.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <string>
#include <utility>

namespace dormouse::llm {

Placement Placement::of_others() {
  Placement placement;
  std::error_code failed;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task", failed)) {
    const std::string name = entry.path().filename();
    pid_t thread = 0;
    std::from_chars(name.data(), name.data() + name.size(), thread);
    if (thread > 0 && thread != gettid()) placement.others_.push_back(thread);
  }
  return placement;
}

void Placement::part() {
  if (others_.empty() || sched_getaffinity(0, sizeof allowed_, &allowed_) != 0) return;
  cpu_set_t elsewhere = allowed_;
  const int here = sched_getcpu();
  if (here < 0 || here >= CPU_SETSIZE) return;
  CPU_CLR(here, &elsewhere);
  if (CPU_COUNT(&elsewhere) == 0) return;
  is_parted_ = true;
  allow(elsewhere);
}

void Placement::release() {
  if (std::exchange(is_parted_, false)) allow(allowed_);
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
