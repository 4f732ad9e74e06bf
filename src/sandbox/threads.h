// Which threads a process has, and whose they are, and what is beside it. What is in /proc is of
// its making: bounded. Only this module's files include it.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace dormouse::sandbox {

// Of one process without its first: "worker-7 of libgomp.so.1.0.0", a few of many. The library is
// the innermost that the thread is in, but for those that all threads are in, as libc, which are
// named if there is no other; left out if the thread runs, and its stack cannot be looked at.
std::vector<std::string> threads_of(pid_t);

pid_t parent_of(pid_t);  // 0 of one that is gone.

// The names of those of `all` that live and are neither `program` nor above it: "sleep", a few of
// many.
std::vector<std::string> beside(pid_t program, const std::vector<pid_t>& all);

}  // namespace dormouse::sandbox
