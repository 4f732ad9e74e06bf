#include "cli/resolve.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <thread>

namespace dormouse::cli {
namespace {

namespace fs = std::filesystem;

// In the root of `llm`, where scripts/setup.d/llm-accelerators has fetched it.
constexpr const char* cuda_back_end = "/opt/cuda/libggml-cuda.so";

void find_resources(Resources& node, http::Limits& limits) {
  const Resources host = host_resources();
  limits.bodies_bytes_max =
      std::min(limits.bodies_bytes_max, static_cast<std::uint64_t>(host.memory_bytes) / 4);
  if (node.memory_bytes == 0) node.memory_bytes = host.memory_bytes / 5 * 4;
  if (node.cpu_millicores == 0) node.cpu_millicores = host.cpu_millicores;
}

// A root that came with this program, installed or as it was built; empty if it did not.
fs::path root_of(const char* name) {
  std::error_code failure;
  const fs::path here = fs::read_symlink("/proc/self/exe", failure).parent_path();
  for (const char* where : {"../lib/dormouse/runtimes", "../../roots"}) {
    const fs::path root = fs::weakly_canonical(here / where / name, failure);
    if (fs::is_directory(root, failure)) return root;
  }
  return {};
}

// What of the host is seen, read-only, where its own interpreters run.
std::vector<sandbox::Bind> host_binds() {
  std::vector<sandbox::Bind> binds;
  std::error_code failure;
  // Certificates, too: a function that may reach the world has to know whom it speaks with.
  for (const char* folder : {"/usr", "/etc/alternatives", "/etc/ssl/certs"}) {
    if (fs::is_directory(folder, failure)) binds.push_back({.source = folder, .target = folder});
  }
  return binds;
}

void find_runtimes(std::map<std::string, fleet::Runtime>& runtimes) {
  const auto add = [&](const char* name, const fs::path& root, fleet::Runtime runtime) {
    runtime.root = root;
    if (!root.empty()) runtimes.try_emplace(name, std::move(runtime));
  };
  add("onnx", root_of("onnx"),
      {.argv = {"/bin/init", "/bin/worker"}, .prepares = true, .forks = true, .snapshots = true});
  add("llm", root_of("llm"),
      {.argv = {"/bin/init", "/bin/worker"},
       .waits_unused = false,
       .forks = true,
       .snapshots = true,
       .language_models = true,
       .keeps_conversations = true,
       .left_alone = std::chrono::seconds(1)});
  if (auto on_cards = runtime_on_cards(root_of("llm"), sandbox::nvidia_devices())) {
    add("llm-cuda", root_of("llm"), *std::move(on_cards));
  }
  add("executable", root_of("host"),
      {.argv = {"/opt/dormouse/init", "/opt/dormouse/executable"},
       .binds = host_binds(),
       .reports = true,
       .forks = true,
       .loopback = true,
       .client_context = true});
  add("web", root_of("host"),
      {.argv = {"/opt/dormouse/init", "/opt/dormouse/executable", "--web"},
       .binds = host_binds(),
       .waits_unused = false,
       .loopback = true,
       .listens = true});
  std::error_code failure;
  if (fs::exists("/usr/bin/node", failure)) {
    add("node", root_of("host"),
        {.argv = {"/opt/dormouse/init", "/opt/dormouse/executable", "/usr/bin/node",
                  "/opt/dormouse/node/worker.mjs"},
         .binds = host_binds(),
         .waits_unused = false,
         .reports = true,
         .loopback = true,
         .client_context = true});
  }
  if (!fs::exists("/usr/bin/python3", failure)) return;
  add("python", root_of("host"),
      {.argv = {"/opt/dormouse/init", "/usr/bin/python3", "-I", "-S", "-B",
                "/opt/dormouse/python/worker.py"},
       .binds = host_binds(),
       .reports = true,
       .forks = true,
       .snapshots = true,
       .saves_unasked = false,
       .loopback = true,
       .client_context = true,
       .left_alone = std::chrono::milliseconds(150)});
}

}  // namespace

// What has spoken with a driver cannot be forked, so there are no templates; and CUDA's own
// libraries are the host's.
std::optional<fleet::Runtime> runtime_on_cards(const fs::path& root_of_llm,
                                               const sandbox::NvidiaDevices& nvidia) {
  std::error_code failure;
  const fs::path back_end = root_of_llm / fs::path(cuda_back_end).relative_path();
  if (nvidia.cards.empty() || !nvidia.has_unified_memory || !fs::exists(back_end, failure)) {
    return std::nullopt;
  }
  return fleet::Runtime{.argv = {"/bin/init", "/bin/worker", "--accelerator", cuda_back_end},
                        .env = {"LD_LIBRARY_PATH=/usr/local/cuda/lib64"},
                        .binds = host_binds(),
                        .devices = nvidia.all,
                        .waits_unused = false,
                        .language_models = true,
                        .keeps_conversations = true,
                        .left_alone = std::chrono::seconds(1)};
}

Resources host_resources() {
  return {.cpu_millicores = std::int64_t{std::thread::hardware_concurrency()} * 1000,
          .memory_bytes = std::int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE)};
}

DaemonConfig resolve(DaemonConfig config) {
  find_resources(config.node, config.limits);
  find_runtimes(config.runtimes);
  if (config.master_key.empty()) config.master_key = fs::path(config.data) / "master.key";
  config.conversations.dir = fs::path(config.data) / "conversations";
  if (config.node_name.empty()) {
    char name[256] = {};
    gethostname(name, sizeof(name) - 1);
    config.node_name = name;
  }
  return config;
}

}  // namespace dormouse::cli
