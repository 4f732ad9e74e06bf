#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <sstream>

#include "sandbox/cgroup.h"
#include "sandbox/files.h"

namespace dormouse::sandbox {
namespace {

namespace fs = std::filesystem;
using SteadyTime = std::chrono::steady_clock::time_point;

constexpr const char* parts_below[] = {"oci", "start"};

// On a thread of its own; the kernel offers no descriptor that tells of a group's last process.
void pause_briefly(int turn) {
  poll(nullptr, 0, std::min(1 + turn / 4, 10));
}

void add_processes(const fs::path& folder, int depth, std::vector<pid_t>& pids) {
  const auto text = read_text(folder / "cgroup.procs");
  if (!text) return;
  std::istringstream lines(*text);
  for (pid_t pid; lines >> pid;) {
    if (pid > 0) pids.push_back(pid);
  }
  if (depth == 0) return;
  std::error_code failed;
  for (fs::directory_iterator at(folder, failed), end; !failed && at != end; at.increment(failed)) {
    if (at->is_directory(failed)) add_processes(at->path(), depth - 1, pids);
  }
}

// The freezer's group on v1: the one place where a process can be held still to be counted.
fs::path counted_in(const Hierarchies& hierarchies, const std::string& name) {
  if (hierarchies.unified) return hierarchies.unified_root / name;
  return hierarchies.controllers.at("freezer") / name;
}

void freeze(const fs::path& folder) {
  if (!write_text(folder / "freezer.state", "FROZEN")) return;
  for (int turn = 0; turn < 10; ++turn) {
    const auto state = read_text(folder / "freezer.state");
    if (!state || *state == "FROZEN") return;
    pause_briefly(0);
  }
}

void kill_once(const Hierarchies& hierarchies, const fs::path& folder,
               const std::vector<pid_t>& pids) {
  if (hierarchies.unified && write_text(folder / "cgroup.kill", "1")) return;
  for (const pid_t pid : pids) kill(pid, SIGKILL);
}

void remove_parts(const fs::path& folder) {
  for (const char* part : parts_below) rmdir((folder / part).c_str());
}

void remove_slots(const fs::path& folder) {
  std::error_code failed;
  for (fs::directory_iterator at(folder, failed), end; !failed && at != end; at.increment(failed)) {
    if (!at->path().filename().string().starts_with(slot_prefix)) continue;
    remove_parts(at->path());
    rmdir(at->path().c_str());
  }
}

}  // namespace

std::vector<pid_t> processes_of(const Hierarchies& hierarchies, const std::string& name) {
  std::vector<pid_t> pids;
  add_processes(counted_in(hierarchies, name), 3, pids);
  return pids;
}

std::vector<pid_t> children_in(const std::string& name) {
  std::vector<pid_t> pids;
  std::error_code failed;
  for (fs::directory_iterator at("/proc/self/task", failed), end; !failed && at != end;
       at.increment(failed)) {
    std::istringstream children(read_text(at->path() / "children").value_or(""));
    for (pid_t pid; children >> pid;) {
      const auto groups = read_text("/proc/" + std::to_string(pid) + "/cgroup");
      if (groups && groups->contains("/" + name + "/")) pids.push_back(pid);
    }
  }
  return pids;
}

Result<std::vector<pid_t>> kill_group(const Hierarchies& hierarchies, const std::string& name,
                                      Duration patience) {
  CHECK(name.starts_with("dormouse-") && !name.ends_with('/'));  // Never the host's own groups.
  const fs::path folder = counted_in(hierarchies, name);
  const SteadyTime give_up = std::chrono::steady_clock::now() + patience;
  std::vector<pid_t> seen;
  for (int turn = 0;; ++turn) {
    std::vector<pid_t> pids = processes_of(hierarchies, name);
    if (pids.empty()) return seen;
    if (turn % 16 == 0) {
      // Still processes cannot fork between being listed and being killed.
      if (!hierarchies.unified) freeze(folder);
      pids = processes_of(hierarchies, name);
      kill_once(hierarchies, folder, pids);
      seen.insert(seen.end(), pids.begin(), pids.end());
      if (!hierarchies.unified) (void)write_text(folder / "freezer.state", "THAWED");
    }
    if (std::chrono::steady_clock::now() > give_up) {
      return Error{Code::unavailable, "processes in cgroup " + name + " do not die"};
    }
    pause_briefly(turn);
  }
}

Result<> remove_group(const Hierarchies& hierarchies, const std::string& name, Duration patience) {
  const SteadyTime give_up = std::chrono::steady_clock::now() + patience;
  for (const fs::path& folder : hierarchies.folders(name)) {
    for (int turn = 0;; ++turn) {
      remove_parts(folder);
      remove_slots(folder);
      if (rmdir(folder.c_str()) == 0 || errno == ENOENT) break;
      if (std::chrono::steady_clock::now() > give_up) {
        return system_error(Code::unavailable, "rmdir " + folder.string());
      }
      pause_briefly(turn);
    }
  }
  return ok;
}

std::vector<std::string> groups_below(const Hierarchies& hierarchies, const std::string& name) {
  std::vector<std::string> names;
  for (const fs::path& folder : hierarchies.folders(name)) {
    std::error_code failed;
    for (fs::directory_iterator at(folder, failed), end; !failed && at != end;
         at.increment(failed)) {
      if (at->is_directory(failed)) names.push_back(at->path().filename());
    }
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

}  // namespace dormouse::sandbox
