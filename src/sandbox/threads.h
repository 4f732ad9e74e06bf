// Which threads a process has, and whose they are. Only this module's files include it.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace dormouse::sandbox {

// Of these processes, without each one's first: "worker-7 of
// libgomp.so.1.0.0". The library is the innermost that the thread is in, but for those that all
// threads are in, as libc, which are named if there is no other; left out if the thread runs, and
// its stack cannot be looked at.
std::vector<std::string> threads_of(const std::vector<pid_t>&);

}  // namespace dormouse::sandbox
