// The blocking part of launching: from a Spec to a running, isolated program.
#pragma once

#include <string>
#include <vector>

#include "sandbox/cgroup.h"
#include "sandbox/estate.h"
#include "sandbox/sandbox.h"
#include "sandbox/spawn.h"

namespace dormouse::sandbox {

struct Launched {
  Process process;                // The sandbox's first process, our child.
  std::vector<pid_t> companions;  // Further children of ours that the OCI runtime left.
  std::unique_ptr<Cgroup> group;
  Duration cpu_spent_starting{};
  Limits limits{};  // As it was started.
  bool forks = false;
  bool has_network_files = false;
  bool has_slots = false;  // Written and read by the thread that makes them.
  wire::Descriptor socket;
  wire::Descriptor output;
};

// What the host must let a sandbox have so that its program has these limits.
Limits on_the_host(Limits, RuntimeKind);

// What a sandbox that may get a network sees at /etc/hosts and /etc/resolv.conf, in its folder.
inline constexpr const char* hosts_file = "hosts";
inline constexpr const char* resolv_file = "resolv.conf";

// The socket and the output of a program: our ends, which do not block, and its own.
struct Ends {
  wire::Descriptor socket, inner_socket, output, inner_output;
};
Result<Ends> make_ends();

// On an error nothing is left.
Result<Launched> launch_program(const Estate&, const std::string& sandbox, const Spec&,
                                std::uint32_t host_uid);

}  // namespace dormouse::sandbox
