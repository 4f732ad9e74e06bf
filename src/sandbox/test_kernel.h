// For tests: what the running kernel can do.
#pragma once

#include <sys/utsname.h>

#include <cstdio>

namespace dormouse::sandbox {

// How a process ended that is not our child, and that somebody else reaped: Linux tells it from
// 6.15 on. Before, all that is known is that it ended.
inline bool kernel_tells_of_others() {
  utsname kernel{};
  int major = 0, minor = 0;
  return uname(&kernel) == 0 && std::sscanf(kernel.release, "%d.%d", &major, &minor) == 2 &&
         (major > 6 || (major == 6 && minor >= 15));
}

}  // namespace dormouse::sandbox
