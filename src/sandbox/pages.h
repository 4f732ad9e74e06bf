// What can be learned of a process from /proc. Only this module's files include it.
#pragma once

#include <sys/types.h>

#include <vector>

#include "sandbox/sandbox.h"

namespace dormouse::sandbox {

// Of all of them together; those that are gone count for nothing.
Pages pages_of(const std::vector<pid_t>&);

std::size_t sockets_of(pid_t);

}  // namespace dormouse::sandbox
