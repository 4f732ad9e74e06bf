#include "world.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <poll.h>
#include <seccomp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <thread>

namespace dormouse::sandbox {
namespace {

namespace fs = std::filesystem;

std::string content(const fs::path& file) {
  std::ostringstream out;
  out << std::ifstream(file).rdbuf();
  return out.str();
}

constexpr std::uint64_t own_bytes = 1 << 20;   // A program's own, and what a processor has ready.
constexpr std::uint64_t kept_bytes = 2 << 20;  // By the kernel, of those that have ended.

// What is there; empty when the other side is closed.
std::string read_some(int descriptor) {
  pollfd ready{descriptor, POLLIN, 0};
  if (poll(&ready, 1, 20'000) <= 0) return "";
  char part[65536];
  const ssize_t size = read(descriptor, part, sizeof(part));
  return size > 0 ? std::string(part, static_cast<std::size_t>(size)) : "";
}

// A dead process that waits for somebody else to reap it is none of ours.
bool somebody_elses_zombie(const fs::path& process) {
  const std::string stat = content(process / "stat");
  char state = '?';
  int parent = 0;
  const std::size_t name_end = stat.rfind(')');
  if (name_end == stat.npos) return true;  // Gone meanwhile.
  std::sscanf(stat.c_str() + name_end + 1, " %c %d", &state, &parent);
  return state == 'Z' && parent != getpid();
}

template <class Visit>
void each_line(const std::string& text, Visit visit) {
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) visit(line);
}

// Every folder below. One that vanishes meanwhile, as others' control groups do, ends nothing but
// the look into it.
template <class Visit>
void each_folder(const fs::path& folder, const Visit& visit) {
  std::error_code failed;
  for (fs::directory_iterator at(folder, failed), end; at != end; at.increment(failed)) {
    if (!fs::is_directory(at->symlink_status(failed))) continue;
    visit(at->path());
    each_folder(at->path(), visit);
  }
}

}  // namespace

int Report::lines_with(const std::string& text) const {
  int lines = 0;
  each_line(output, [&](const std::string& line) { lines += line.find(text) != line.npos; });
  return lines;
}

std::string Report::first_line_with(const std::string& text) const {
  std::string found;
  each_line(output, [&](const std::string& line) {
    if (found.empty() && line.find(text) != line.npos) found = line;
  });
  return found;
}

World::World(std::string oci_runtime)
    : oci_runtime_(std::move(oci_runtime)), clock_(async::system_clock()) {
  char made[] = "/tmp/dormouse-sandboxes.XXXXXX";
  state_dir = mkdtemp(made);
  chmod(made, 0711);
  begin();
}

void World::begin() {
  auto launcher = linux_launcher(io.get_executor(), clock_.get(), {state_dir, oci_runtime_});
  if (!launcher) throw std::runtime_error(launcher.error().message);
  launcher_ = std::move(*launcher);
}

World::~World() {
  end();
  EXPECT_EQ(left_by(state_dir), std::set<std::string>());
  fs::remove_all(state_dir);
}

Spec World::escape(std::vector<std::string> words, Limits limits) {
  Spec spec{.root = ESCAPE_ROOT, .argv = {"/bin/worker"}, .limits = limits};
  spec.argv.insert(spec.argv.end(), words.begin(), words.end());
  return spec;
}

std::unique_ptr<Sandbox> World::launch(Spec spec) {
  auto sandbox = run(io, launcher_->launch(std::move(spec)));
  if (!sandbox) {
    ADD_FAILURE() << sandbox.error().message;
    return nullptr;
  }
  return std::move(*sandbox);
}

std::string World::refusal(Spec spec) {
  const auto sandbox = run(io, launcher_->launch(std::move(spec)));
  return sandbox ? "launched" : sandbox.error().message;
}

Report World::to_the_end(Spec spec) {
  const auto began = std::chrono::steady_clock::now();
  const auto sandbox = launch(std::move(spec));
  if (!sandbox) return {};
  const auto launched = std::chrono::steady_clock::now();
  Report report = to_the_end(*sandbox);
  report.launch = std::chrono::duration_cast<Duration>(launched - began);
  return report;
}

Report World::to_the_end(Sandbox& sandbox) {
  Report report;
  // The pipe holds little, so it is read while the program runs; but a program stopped by its
  // limits is ended by what runs on the executor.
  auto ended = asio::co_spawn(io, sandbox.wait(), asio::use_future);
  io.restart();
  const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  bool patient = true;
  while (ended.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    if (patient && std::chrono::steady_clock::now() > patience) {
      patient = false;
      ADD_FAILURE() << "did not end by itself; it said: " << report.output;
      sandbox.kill();
    }
    io.run_for(std::chrono::milliseconds(2));
    io.restart();
    char part[65536];
    for (ssize_t size; (size = read(sandbox.output(), part, sizeof(part))) > 0;) {
      report.output.append(part, static_cast<std::size_t>(size));
    }
  }
  for (std::string more; !(more = read_some(sandbox.output())).empty();) report.output += more;
  report.ended = ended.get();
  report.usage = sandbox.usage();
  return report;
}

std::string World::wait_for_output(Sandbox& sandbox, const std::string& text) {
  std::string output;
  while (output.find(text) == output.npos) {
    const std::string more = read_some(sandbox.output());
    if (more.empty()) break;
    output += more;
  }
  EXPECT_NE(output.find(text), output.npos) << output;
  return output;
}

std::uint64_t World::memory_bytes() const {
  const std::string group = "dormouse-" + content(state_dir / "id");
  std::string bytes;
  each_folder("/sys/fs/cgroup", [&](const fs::path& folder) {
    if (folder.filename() != group) return;
    for (const char* file : {"memory.current", "memory.usage_in_bytes"}) {
      bytes += content(folder / file);
    }
  });
  EXPECT_FALSE(bytes.empty()) << "no control group says what memory is held";
  return bytes.empty() ? 0 : std::stoull(bytes);
}

void expect_full(World& world, Sandbox& full, const Quota& quota, std::uint64_t held_before) {
  const std::string output = world.wait_for_output(full, "No space left on device");
  long taken = 0;
  ASSERT_EQ(std::sscanf(output.c_str(), "filled %ld", &taken), 1) << output;
  EXPECT_GT(taken, quota.most / 2) << quota.kind;
  EXPECT_LE(taken, quota.most) << quota.kind;
  const std::uint64_t held = full.memory_bytes();
  EXPECT_LE(held, held_before + filled.tmp_bytes_max + own_bytes) << quota.kind;
  if (quota.kind == std::string("inodes")) return;
  const auto bytes = static_cast<std::uint64_t>(taken);
  EXPECT_GE(held, bytes) << quota.kind;
  EXPECT_LE(held, held_before + bytes + own_bytes) << quota.kind;
}

void mind(World& world, Sandbox& sandbox, const std::vector<Sandbox*>& others) {
  const auto clock = async::system_clock();
  const TimePoint until = clock->now() + std::chrono::seconds(20);
  while (clock->now() < until) {
    for (Sandbox* each : others) EXPECT_TRUE(each->mind_forks(clock->now()));
    const auto next = sandbox.mind_forks(clock->now());
    if (!next) return;
    run(world.io, clock->sleep_until(clock->now() + *next));
  }
  ADD_FAILURE() << "it was not seen to be a bomb";
}

void expect_given_back(const World& world, std::uint64_t held_before) {
  const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  std::uint64_t held = 0;
  do {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    held = world.memory_bytes();
  } while (held > held_before + kept_bytes && std::chrono::steady_clock::now() < patience);
  EXPECT_LE(held, held_before + kept_bytes);
}

std::string numbers_of(std::span<const AllowedCall> calls) {
  std::string list;
  for (const AllowedCall& call : calls) {
    const int number = seccomp_syscall_resolve_name(call.name);
    EXPECT_NE(number, __NR_SCMP_ERROR) << call.name;
    list += (list.empty() ? "" : ",") + std::to_string(number);
  }
  return list;
}

int so_many(int usually, int nightly) {
  const int all = std::getenv("DORMOUSE_NIGHTLY") != nullptr ? nightly : usually;
#ifdef SANITIZED
  return all / 10;
#else
  return std::getenv("DORMOUSE_EMULATED") != nullptr ? all / 10 : all;
#endif
}

std::set<std::string> left_by(const fs::path& state_dir) {
  std::set<std::string> left;
  const std::string group = "dormouse-" + content(state_dir / "id");
  each_folder("/sys/fs/cgroup", [&](const fs::path& folder) {
    if (folder.filename() == group) left.insert("cgroup " + folder.string());
  });
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator("/proc", failed)) {
    if (content(entry.path() / "cgroup").find(group) != std::string::npos &&
        !somebody_elses_zombie(entry.path())) {
      left.insert("process " + content(entry.path() / "stat").substr(0, 40));
    }
  }
  each_line(content("/proc/self/mountinfo"), [&](const std::string& line) {
    if (line.find(state_dir.string()) != line.npos) left.insert("mount " + line);
  });
  for (const char* folder : {"sandboxes", "oci"}) {
    for (const auto& entry : fs::directory_iterator(state_dir / folder, failed)) {
      left.insert("folder " + entry.path().string());
    }
  }
  const std::string id = content(state_dir / "id");
  if (if_nametoindex(("dm" + id).c_str()) != 0) left.insert("interface dm" + id);
  FILE* const tables = popen("nft list tables 2>/dev/null", "re");
  for (char line[256]; tables != nullptr && std::fgets(line, sizeof(line), tables) != nullptr;) {
    if (std::string_view(line).contains(group)) left.insert(line);
  }
  if (tables != nullptr) pclose(tables);
  return left;
}

int write_down_what_is_given(const char* oci_root) {
  std::set<std::string> descriptors;
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator("/proc/self/fd", failed)) {
    // Not the one that this loop itself has open.
    if (fs::read_symlink(entry, failed) != "/proc/" + std::to_string(getpid()) + "/fd") {
      descriptors.insert(entry.path().filename());
    }
  }
  std::ofstream seen(fs::path(oci_root).parent_path() / "seen");
  for (char** variable = environ; *variable != nullptr; ++variable) seen << *variable << "\n";
  for (const std::string& descriptor : descriptors) seen << descriptor << "\n";
  return 1;
}

int own_sandboxes(const char* state_dir, int count) {
  asio::io_context io;
  const auto clock = async::system_clock();
  auto launcher = linux_launcher(io.get_executor(), clock.get(), {state_dir});
  if (!launcher) return 1;
  std::vector<std::unique_ptr<Sandbox>> sandboxes;
  for (int i = 0; i < count; ++i) {
    auto sandbox = run(io, (*launcher)->launch(World::escape({"linger"})));
    if (!sandbox) return 1;
    if (auto shown = run(io, (*sandbox)->reveal(ESCAPE_ROOT)); !shown) return 1;
    sandboxes.push_back(std::move(*sandbox));
  }
  std::puts("ready");
  std::fflush(stdout);
  pause();
  return 0;
}

}  // namespace dormouse::sandbox
