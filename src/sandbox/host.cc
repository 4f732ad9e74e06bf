// What this host lacks for sandboxes, and what that costs.
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "sandbox/cgroup.h"
#include "sandbox/sandbox.h"
#include "sandbox/spawn.h"

namespace dormouse::sandbox {
namespace {

using enum Finding::Grade;

std::string first_line(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  return line;
}

Finding user() {
  if (geteuid() == 0) return {good, "running as root", ""};
  return {missing, "not running as root",
          "no function can start: control groups, mounts and user namespaces need root"};
}

Finding control_groups() {
  const auto found = find_hierarchies();
  if (!found) {
    return {missing, found.error().message,
            "no function can start: nothing would bound its memory, CPU and processes"};
  }
  if (found->unified) return {good, "cgroup v2", ""};
  std::string controllers;
  for (const auto& [name, _] : found->controllers) {
    controllers += (controllers.empty() ? "" : ", ") + name;
  }
  return {good, "cgroup v1: " + controllers, ""};
}

Finding oci_runtime(const std::string& configured) {
  const auto found = find_program(configured);
  if (!found) {
    return {missing, "OCI runtime " + configured + " is not installed",
            "no function can start; install it (`apt-get install " + configured + "`)"};
  }
  const auto groups = find_hierarchies();
  if (configured.ends_with("crun") && groups && !groups->unified) {
    return {degraded, "OCI runtime " + *found + " on cgroup v1",
            "crun refuses hosts that mount cgroup v1 and v2 side by side; use runc there"};
  }
  return {good, "OCI runtime " + *found, ""};
}

// In a child of its own, since a namespace once entered is not left.
bool child_can(int flags) {
  const pid_t child = fork();
  if (child == 0) _exit(unshare(flags) == 0 ? 0 : 1);
  int status = 1;
  return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

Finding namespaces() {
  const int all =
      CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
  if (child_can(all)) return {good, "user, mount, pid, network, ipc and uts namespaces", ""};
  return {missing, "namespaces cannot be made",
          "no function can start; see /proc/sys/user/max_*_namespaces and the kernel's options"};
}

Finding system_call_filter() {
  const unsigned level = seccomp_api_get();
  if (level >= 3) return {good, "seccomp, API level " + std::to_string(level), ""};
  return {degraded, "seccomp, API level " + std::to_string(level),
          "refused system calls are not logged"};
}

Finding landlock() {
  const long abi =
      syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (abi > 0) return {good, "landlock, ABI " + std::to_string(abi), ""};
  return {degraded, "no landlock", "one wall fewer behind the others"};
}

Finding huge_pages() {
  const std::string mode = first_line("/sys/kernel/mm/transparent_hugepage/enabled");
  if (mode.find("[madvise]") != mode.npos || mode.find("[always]") != mode.npos) {
    return {good, "transparent huge pages: " + mode, ""};
  }
  return {degraded, "transparent huge pages are off",
          "large models take more page faults to wake and to run"};
}

Finding swap() {
  std::ifstream in("/proc/swaps");
  std::string line;
  std::getline(in, line);
  if (!std::getline(in, line)) return {good, "no swap", ""};
  return {degraded, "swap is in use: " + line.substr(0, line.find(' ')),
          "dozing instances may be written out, and then wake slowly"};
}

}  // namespace

std::vector<Finding> examine_host(const LauncherOptions& options) {
  return {user(),
          control_groups(),
          oci_runtime(options.oci_runtime),
          namespaces(),
          system_call_filter(),
          landlock(),
          huge_pages(),
          swap()};
}

}  // namespace dormouse::sandbox
