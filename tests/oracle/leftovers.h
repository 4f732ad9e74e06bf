// I5: what is there after a test and was not there before. Only what names the mark, such as the
// data directory or the node's name, counts, because a machine has other things to do meanwhile.
#pragma once

#include <sys/types.h>
#include <set>
#include <string>

namespace dormouse::oracle {

// Lines such as "process 123 4567 dormouse", "cgroup /sys/fs/cgroup/…", "mount /…", "link veth0",
// "temporary /tmp/…"; and, with a pid, "fd 7 → …" of that process.
std::set<std::string> things_there(const std::string& mark, pid_t fds_of);

}  // namespace dormouse::oracle
