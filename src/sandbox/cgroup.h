// The control groups of one sandbox: limits, usage, and the way to kill every process in it.
//
// On cgroup v1 a sandbox has one group per controller (memory, cpu, cpuacct, pids, freezer), on v2
// one in all; a hybrid host counts as v1. Their path is /dormouse-<daemon>/<sandbox>, at the top of
// each hierarchy. The OCI runtime makes its own group, `oci`, below ours, so our limits bind it.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "sandbox/sandbox.h"
#include "wire/socket.h"

namespace dormouse::sandbox {

// Where this host keeps its control groups.
struct Hierarchies {
  bool unified = false;                                      // cgroup v2 has the controllers.
  std::map<std::string, std::filesystem::path> controllers;  // v1: "memory" → its mount.
  std::filesystem::path unified_root;                        // Empty if there is none.

  // Every folder in which a group `name` may exist, the OCI runtime's included.
  std::vector<std::filesystem::path> folders(const std::string& name) const;
};

// Reads /proc/self/mountinfo's text. Pure, for the test.
Hierarchies hierarchies_in(std::string_view mountinfo);

// unavailable if memory, cpu or pids cannot be limited here.
Result<Hierarchies> find_hierarchies();

// Of the groups of slots, below their sandbox's.
inline constexpr std::string_view slot_prefix = "slot-";

class Cgroup {
 public:
  // `hierarchies` outlives the group.
  static Result<std::unique_ptr<Cgroup>> make(const Hierarchies* hierarchies, std::string name);

  const std::string& name() const { return name_; }
  const std::vector<wire::Descriptor>& entrances() const { return entrances_; }
  Result<> admit(pid_t);
  void close_entrances() { entrances_.clear(); }

  // `conflict` if more memory than that is in use, and cannot be given back.
  Result<> limit(const Limits&);
  // From now on the limits hold for the OCI runtime's part, which is the program, and not for the
  // groups of slots beside it. The group's share of the CPUs stays what it was.
  Result<> limit_program_only(const Limits&);
  Usage usage() const;
  Duration cpu_time() const;  // usage()'s, for half of what that costs.
  std::uint64_t memory_bytes() const;
  void reset_peak();
  std::uint64_t oom_kills() const;  // Not those in groups of slots below it.

  // How often a process of it was not made because of a limit of processes, as a rule its own; a
  // few µs. Whether there are half as many as there may be, threads too; as quick. How many there
  // are, without their threads. Not those in groups of slots below it.
  std::uint64_t refused_forks();
  bool is_crowded();
  std::uint64_t processes() const;
  std::uint32_t processes_max() const { return processes_max_; }

  // Tells that the group met its memory limit: v1 by being readable, v2 by an exceptional condition
  // (POLLPRI), also when a group below it did; look at oom_kills() to know. Until the notice is
  // taken it tells no other. Not owned by whoever asks.
  int oom_notice() const { return oom_notice_.number(); }
  bool take_oom_notice() const;  // Whether there was one; v2: always.

 private:
  Cgroup(const Hierarchies* hierarchies, std::string name)
      : hierarchies_(hierarchies), name_(std::move(name)) {}
  std::filesystem::path folder(const std::string& controller) const;
  Result<> make_v1();
  Result<> make_v2();
  Result<> open_entrance(const std::filesystem::path& folder);
  Result<> watch_oom();
  Result<> limit_v1(const Limits&, const char* part);
  Result<> limit_v2(const Limits&, const char* part);
  Result<> lift_v1();
  Result<> lift_v2();
  void open_refusals();

  const Hierarchies* hierarchies_;
  const std::string name_;
  std::vector<wire::Descriptor> entrances_;
  wire::Descriptor cpu_;
  wire::Descriptor memory_;
  wire::Descriptor peak_;
  wire::Descriptor oom_notice_;
  std::uint32_t processes_max_ = 0;
  // Where those are counted, and how many there are, once somebody has asked.
  std::vector<wire::Descriptor> refusals_;
  wire::Descriptor count_;
};

// How long the processes of a sandbox may take to die.
inline constexpr Duration dying_max = std::chrono::seconds(10);

// Kills every process in the group `name` until it is empty; gives the pids that were seen, so
// that those who are our children can be reaped. unavailable if some will not die in `patience`.
Result<std::vector<pid_t>> kill_group(const Hierarchies&, const std::string& name,
                                      Duration patience);

// The processes in it and in the groups below it.
std::vector<pid_t> processes_of(const Hierarchies&, const std::string& name);

// Children of this process that are, or were as they died, in the group `name` or below it.
std::vector<pid_t> children_in(const std::string& name);

// Removes the empty group in every hierarchy, and the OCI runtime's below it.
Result<> remove_group(const Hierarchies&, const std::string& name, Duration patience);

// Names of the groups below `name`.
std::vector<std::string> groups_below(const Hierarchies&, const std::string& name);

}  // namespace dormouse::sandbox
