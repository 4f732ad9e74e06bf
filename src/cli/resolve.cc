#include "cli/resolve.h"

#include <unistd.h>

#include <filesystem>
#include <thread>

namespace dormouse::cli {
namespace {

namespace fs = std::filesystem;

void find_resources(Resources& node) {
  const std::int64_t memory = std::int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  if (node.memory_bytes == 0) node.memory_bytes = memory / 5 * 4;
  if (node.cpu_millicores == 0) {
    node.cpu_millicores = std::int64_t{std::thread::hardware_concurrency()} * 1000;
  }
}

void find_onnx(std::map<std::string, fleet::Runtime>& runtimes) {
  std::error_code failure;
  const fs::path here = fs::read_symlink("/proc/self/exe", failure).parent_path();
  for (const char* where : {"../lib/dormouse/runtimes", "../../roots"}) {
    const fs::path root = fs::weakly_canonical(here / where / "onnx", failure);
    if (runtimes.contains("onnx") || !fs::is_directory(root, failure)) continue;
    runtimes["onnx"] = {.root = root, .argv = {"/bin/worker"}, .prepares = true};
  }
}

}  // namespace

DaemonConfig resolve(DaemonConfig config) {
  find_resources(config.node);
  find_onnx(config.runtimes);
  if (config.node_name.empty()) {
    char name[256] = {};
    gethostname(name, sizeof(name) - 1);
    config.node_name = name;
  }
  return config;
}

}  // namespace dormouse::cli
