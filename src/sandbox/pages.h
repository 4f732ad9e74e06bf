// What can be learned of a process from /proc. Only this module's files include it.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "sandbox/sandbox.h"

namespace dormouse::sandbox {

// Of all of them together; those that are gone count for nothing.
Pages pages_of(const std::vector<pid_t>&);

struct OpenFile {
  ino_t inode;
  std::string name;  // "socket:[123]", "/tmp/log".
};
// Of one process; without devices that have no state, as /dev/null.
std::vector<OpenFile> open_files_of(pid_t);

}  // namespace dormouse::sandbox
