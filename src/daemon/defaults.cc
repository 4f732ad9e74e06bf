#include "daemon/defaults.h"

#include <unistd.h>

#include <filesystem>
#include <thread>

namespace dormouse::daemon {
namespace {

namespace fs = std::filesystem;

fs::path program_dir() {
  std::error_code failure;
  return fs::read_symlink("/proc/self/exe", failure).parent_path();
}

std::int64_t host_memory_bytes() {
  return std::int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
}

}  // namespace

Resources node_resources(const cli::DaemonConfig& config) {
  Resources resources = config.node;
  if (resources.memory_bytes == 0) resources.memory_bytes = host_memory_bytes() / 5 * 4;
  if (resources.cpu_millicores == 0) {
    resources.cpu_millicores = std::int64_t{std::thread::hardware_concurrency()} * 1000;
  }
  return resources;
}

std::string node_name(const cli::DaemonConfig& config) {
  if (!config.node_name.empty()) return config.node_name;
  char name[256] = {};
  gethostname(name, sizeof(name) - 1);
  return name;
}

std::map<std::string, fleet::Runtime> runtimes(const cli::DaemonConfig& config) {
  std::map<std::string, fleet::Runtime> all = config.runtimes;
  std::error_code failure;
  for (const char* where : {"../lib/dormouse/runtimes", "../../roots"}) {
    const fs::path root = fs::weakly_canonical(program_dir() / where / "onnx", failure);
    if (all.contains("onnx") || !fs::is_directory(root, failure)) continue;
    all["onnx"] = {.root = root, .argv = {"/bin/worker"}, .prepares = true};
  }
  return all;
}

control::Hosts known_hosts(const cli::DaemonConfig& config) {
  control::Hosts hosts{.known = config.hosts};
  hosts.known.push_back(config.host);
  hosts.any_address = config.host == "0.0.0.0" || config.host == "::";
  return hosts;
}

sandbox::LauncherOptions launcher_options(const cli::DaemonConfig& config) {
  return {.state_dir = fs::path(config.data) / "sandboxes", .oci_runtime = config.oci_runtime};
}

}  // namespace dormouse::daemon
