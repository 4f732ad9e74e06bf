// What this host lacks for sandboxes, and what that costs.
#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>

#include "sandbox/cgroup.h"
#include "sandbox/devices.h"
#include "sandbox/router.h"
#include "sandbox/sandbox.h"
#include "sandbox/spawn.h"

namespace dormouse::sandbox {
namespace {

using enum Finding::Grade;

constexpr Duration version_max = std::chrono::seconds(5);
constexpr rlim_t open_files_wanted = 65'536;

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

Finding unified_control_groups(const std::filesystem::path& root) {
  const std::string line = first_line(root / "cgroup.controllers");
  std::istringstream words(line);
  const std::set<std::string> there{std::istream_iterator<std::string>(words), {}};
  std::string absent;
  for (const char* needed : {"memory", "cpu", "pids"}) {
    if (!there.contains(needed)) absent += std::string(" ") + needed;
  }
  if (absent.empty()) return {good, "cgroup v2: " + line, ""};
  return {missing, "cgroup v2 without" + absent,
          "no function can start: nothing would bound what these controllers do"};
}

Finding control_groups() {
  const auto found = find_hierarchies();
  if (!found) {
    return {missing, found.error().message,
            "no function can start: nothing would bound its memory, CPU and processes"};
  }
  if (found->unified) return unified_control_groups(found->unified_root);
  std::string controllers;
  for (const auto& [name, _] : found->controllers) {
    controllers += (controllers.empty() ? "" : ", ") + name;
  }
  return {good, "cgroup v1: " + controllers, ""};
}

// The first line that `program --version` prints; empty if it cannot be run.
std::string version_of(const std::string& program) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return "";
  const wire::Descriptor said(ends[0]);
  const wire::Descriptor output(ends[1]);
  fcntl(said.number(), F_SETFL, O_NONBLOCK);
  Command command;
  command.program = program;
  command.argv = {program, "--version"};
  command.output = output.number();
  const auto asked = spawn(command);
  if (!asked) return "";
  const auto ended = wait_for(*asked, version_max);
  if (!ended) {
    kill_process(*asked);
    wait_for(*asked, version_max);
    return "";
  }
  if (ended->signalled || ended->number != 0) return "";
  char text[256];
  const ssize_t size = read(said.number(), text, sizeof(text));
  const std::string all(text, static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
  return all.substr(0, all.find('\n'));
}

Finding oci_runtime(const std::string& configured) {
  const auto found = find_program(configured);
  if (!found) {
    return {missing, "OCI runtime " + configured + " is not installed",
            "no function can start; install it (`apt-get install " + configured + "`)"};
  }
  const std::string version = version_of(*found);
  if (version.empty()) {
    return {missing, "OCI runtime " + *found + " does not run",
            "no function can start; `" + *found + " --version` says why"};
  }
  const auto groups = find_hierarchies();
  if (configured.ends_with("crun") && groups && !groups->unified) {
    return {degraded, "OCI runtime " + *found + " on cgroup v1",
            "crun refuses hosts that mount cgroup v1 and v2 side by side; use runc there"};
  }
  return {good, "OCI runtime " + *found + ": " + version, ""};
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

Finding open_files() {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  const std::string text = std::to_string(files.rlim_max) + " open files";
  if (files.rlim_max >= open_files_wanted) return {good, text, ""};
  return {degraded, text + " at most",
          "few connections and instances at a time, and few files for each function; raise the "
          "hard limit (LimitNOFILE, ulimit -Hn) to " +
              std::to_string(open_files_wanted)};
}

// The launcher raises it, if it may.
Finding locked_memory() {
  rlimit before{};
  getrlimit(RLIMIT_MEMLOCK, &before);
  const rlimit none{RLIM_INFINITY, RLIM_INFINITY};
  if (setrlimit(RLIMIT_MEMLOCK, &none) == 0) {
    (void)setrlimit(RLIMIT_MEMLOCK, &before);
    return {good, "memory can be locked", ""};
  }
  return {degraded, std::to_string(before.rlim_max >> 20) + " MiB of locked memory at most",
          "weights of an ONNX model that nobody calls may leave memory before its template does, "
          "and the next call reads them again; raise the hard limit (LimitMEMLOCK, ulimit -Hl)"};
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

// As the launcher knows it: by the name of its file.
bool is_runsc(const LauncherOptions& options) {
  return std::filesystem::path(options.oci_runtime).filename().string().starts_with("runsc");
}

Finding network(const LauncherOptions& options) {
  constexpr const char* cost = "no function can be deployed that wants a `network`: ";
  if (is_runsc(options)) {
    return {degraded, "no networks for functions", std::string(cost) + "there is none under runsc"};
  }
  const auto possible = check_network();
  if (!possible) return {degraded, "no networks for functions", cost + possible.error().message};
  const auto& resolvers = options.resolvers;
  const std::size_t known = resolvers.empty() ? public_resolvers().size() : resolvers.size();
  const std::string what = "networks for functions, with " + std::to_string(known) + " nameservers";
  if (known > 0) return {good, what, ""};
  return {degraded, what,
          "those that reach the world find nobody there by name: no nameserver of this host's is "
          "public; say `sandbox.resolvers` in the configuration"};
}

Finding templates(const LauncherOptions& options) {
  if (!is_runsc(options)) return {good, "templates, to fork instances of", ""};
  return {degraded, "no templates under runsc",
          "nothing is forked: each instance loads its code or its model by itself"};
}

Finding nvidia_cards(const NvidiaDevices& nvidia) {
  const std::string what = "cards of NVIDIA's: " + std::to_string(nvidia.cards.size());
  if (nvidia.has_unified_memory) return {good, what, ""};
  return {degraded, what + ", without /dev/nvidia-uvm",
          "no language model can be computed on them; `nvidia-modprobe -u -c 0` makes it"};
}

}  // namespace

std::vector<Finding> examine_host(const LauncherOptions& options) {
  std::vector<Finding> all{user(),       control_groups(),     oci_runtime(options.oci_runtime),
                           namespaces(), system_call_filter(), landlock(),
                           open_files(), locked_memory(),      huge_pages(),
                           swap(),       network(options),     templates(options)};
  const NvidiaDevices nvidia = nvidia_devices();
  if (!nvidia.cards.empty()) all.push_back(nvidia_cards(nvidia));
  return all;
}

}  // namespace dormouse::sandbox
