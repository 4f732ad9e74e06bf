// Starts one of our own privileged helpers (the OCI runtime), and waits for processes by pidfd, so
// that children of the daemon that are not ours are never reaped by accident.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "wire/socket.h"

namespace dormouse::sandbox {

// The environment of every helper: fixed, so that nothing a user or an image says can reach it.
inline constexpr const char* helper_environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", nullptr};

struct Command {
  std::string program;            // A path, not searched for.
  std::vector<std::string> argv;  // argv[0] included.
  int input = -1;                 // Descriptor 0; /dev/null if negative.
  int output = -1;                // Descriptors 1 and 2.
  int socket = -1;                // Descriptor 3, if not negative. There are no others.
  std::vector<int> entrances;     // cgroup.procs files, open for writing: entered before exec.
};

struct Process {
  pid_t pid = 0;
  wire::Descriptor handle;  // A pidfd.
};

// How a process ended, as waitid() tells it.
struct Status {
  bool signalled = false;
  int number = 0;    // The exit status or the signal.
  bool told = true;  // False: nobody says how, and it counts as killed.
};

Result<Process> spawn(const Command&);

// The child `pid`, which some other child of ours left to us.
Result<Process> adopt(pid_t pid);

void kill_process(const Process&);

// Blocks. nullopt if it still runs after `patience`. Reaps it.
std::optional<Status> wait_for(const Process&, Duration patience);

bool has_ended(const Process&);

// Does not block. nullopt if it runs. How one ended that somebody else reaped, Linux tells
// from 6.15 on.
std::optional<Status> reap(const Process&);

// Reaps those of these killed processes that are children of ours: orphans that a helper left.
void reap_orphans(const std::vector<pid_t>&);

// Waits a moment until others, whose children these killed processes are, have reaped them: until
// then they can be seen in their namespace. Blocks.
void wait_until_reaped(const std::vector<pid_t>&);

// Finds `program` like a shell with the helpers' PATH. A path is given back as it is.
Result<std::string> find_program(const std::string& program);

}  // namespace dormouse::sandbox
