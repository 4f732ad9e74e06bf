#include "sandbox/cgroup.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <sstream>

#include "sandbox/files.h"

namespace dormouse::sandbox {
namespace {

namespace fs = std::filesystem;
using wire::Descriptor;

constexpr const char* controllers_v1[] = {"memory", "cpu", "cpuacct", "pids", "freezer"};
constexpr const char* controllers_v2 = "+memory +cpu +pids";
constexpr std::uint64_t cpu_period_us = 100'000;
constexpr std::uint64_t sockets_bytes_least = 1 << 20;

std::uint64_t number_in(std::string_view text) {
  std::uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

// The number after "key " at the start of a line; 0 without one.
std::uint64_t number_of(std::string_view text, const std::string& key) {
  const std::string start = key + " ";
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    if (text.starts_with(start)) return number_in(text.substr(start.size(), end - start.size()));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return 0;
}

// The kernel gives such a file whole in one read. This is on the path of every call.
std::uint64_t read_number(int descriptor) {
  char text[32];
  const ssize_t size = pread(descriptor, text, sizeof(text), 0);
  return size > 0 ? number_in({text, static_cast<std::size_t>(size)}) : 0;
}

Result<Descriptor> open_file(const fs::path& path, int flags) {
  Descriptor file(open(path.c_str(), flags | O_CLOEXEC));
  if (!file) return system_error(Code::unavailable, "open " + path.string());
  return file;
}

Result<> make_folder(const fs::path& path) {
  if (mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) {
    return system_error(Code::unavailable, "mkdir " + path.string());
  }
  return ok;
}

std::string quota_us(const Limits& limits) {
  const std::uint64_t quota = limits.cpu_millicores_max * cpu_period_us / 1000;
  return std::to_string(std::max<std::uint64_t>(quota, 1000));  // The kernel's own minimum.
}

}  // namespace

Hierarchies hierarchies_in(std::string_view mountinfo) {
  Hierarchies found;
  std::istringstream lines{std::string(mountinfo)};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string skipped, mount, word, kind, source, options;
    fields >> skipped >> skipped >> skipped >> skipped >> mount;
    while (fields >> word && word != "-") {
    }
    fields >> kind >> source >> options;
    if (kind == "cgroup2" && found.unified_root.empty()) found.unified_root = mount;
    if (kind != "cgroup") continue;
    std::replace(options.begin(), options.end(), ',', ' ');
    std::istringstream names(options);
    while (names >> word) {
      if (word != "rw" && word != "xattr") found.controllers.emplace(word, mount);
    }
  }
  found.unified = !found.controllers.contains("memory") && !found.unified_root.empty();
  return found;
}

Result<Hierarchies> find_hierarchies() {
  std::string mountinfo;
  const Descriptor file(open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC));
  char part[65536];
  for (ssize_t size; (size = read(file.number(), part, sizeof(part))) > 0;) {
    mountinfo.append(part, static_cast<std::size_t>(size));
    if (mountinfo.size() > (16 << 20)) break;
  }
  Hierarchies found = hierarchies_in(mountinfo);
  if (found.unified) return found;
  for (const char* controller : controllers_v1) {
    if (!found.controllers.contains(controller)) {
      return Error{Code::unavailable, std::string("this host has no cgroup controller ") +
                                          controller + " (v1) and no cgroup v2"};
    }
  }
  return found;
}

std::vector<fs::path> Hierarchies::folders(const std::string& name) const {
  std::vector<fs::path> every;
  if (!unified_root.empty()) every.push_back(unified_root / name);
  for (const auto& [controller, mount] : controllers) {
    const fs::path folder = mount / name;  // Controllers mounted together share one folder.
    if (std::find(every.begin(), every.end(), folder) == every.end()) every.push_back(folder);
  }
  return every;
}

fs::path Cgroup::folder(const std::string& controller) const {
  if (hierarchies_->unified) return hierarchies_->unified_root / name_;
  return hierarchies_->controllers.at(controller) / name_;
}

Result<std::unique_ptr<Cgroup>> Cgroup::make(const Hierarchies* hierarchies, std::string name) {
  std::unique_ptr<Cgroup> group(new Cgroup(hierarchies, std::move(name)));
  auto made = hierarchies->unified ? group->make_v2() : group->make_v1();
  if (!made) return std::move(made).error().during("making cgroup " + group->name_);
  return group;
}

Result<> Cgroup::open_entrance(const fs::path& folder) {
  auto entrance = open_file(folder / "cgroup.procs", O_WRONLY);
  if (!entrance) return entrance.error();
  entrances_.push_back(std::move(*entrance));
  return ok;
}

Result<> Cgroup::make_v1() {
  for (const char* controller : controllers_v1) {
    const fs::path own = folder(controller);
    if (auto made = make_folder(own.parent_path()); !made) return made;
    if (auto made = make_folder(own); !made) return made;
    if (auto opened = open_entrance(own); !opened) return opened;
  }
  auto cpu = open_file(folder("cpuacct") / "cpuacct.usage", O_RDONLY);
  auto memory = open_file(folder("memory") / "memory.usage_in_bytes", O_RDONLY);
  auto peak = open_file(folder("memory") / "memory.max_usage_in_bytes", O_RDWR);
  if (!cpu || !memory || !peak) return Error{Code::unavailable, "its files cannot be opened"};
  cpu_ = std::move(*cpu);
  memory_ = std::move(*memory);
  peak_ = std::move(*peak);
  return watch_oom();
}

Result<> Cgroup::make_v2() {
  const fs::path own = folder("");
  const fs::path above = own.parent_path();
  if (auto on = write_text(above.parent_path() / "cgroup.subtree_control", controllers_v2); !on) {
    return on;
  }
  if (auto made = make_folder(above); !made) return made;
  if (auto on = write_text(above / "cgroup.subtree_control", controllers_v2); !on) return on;
  if (auto made = make_folder(own); !made) return made;
  // A group with controllers for its children holds no processes itself.
  const fs::path entered = own / "start";
  if (auto made = make_folder(entered); !made) return made;
  if (auto opened = open_entrance(entered); !opened) return opened;
  if (auto whole = write_text(own / "memory.oom.group", "1"); !whole) return whole;
  auto cpu = open_file(own / "cpu.stat", O_RDONLY);
  auto memory = open_file(own / "memory.current", O_RDONLY);
  if (!cpu || !memory) return Error{Code::unavailable, "its files cannot be opened"};
  cpu_ = std::move(*cpu);
  memory_ = std::move(*memory);
  // Before Linux 6.12 the peak cannot be reset, before 5.19 there is none.
  peak_ = Descriptor(open((own / "memory.peak").c_str(), O_RDWR | O_CLOEXEC));
  if (!peak_) peak_ = Descriptor(open((own / "memory.peak").c_str(), O_RDONLY | O_CLOEXEC));
  return watch_oom();
}

Result<> Cgroup::watch_oom() {
  if (hierarchies_->unified) {
    auto events = open_file(folder("") / "memory.events", O_RDONLY);
    if (!events) return events.error();
    oom_notice_ = std::move(*events);
    (void)take_oom_notice();
    return ok;
  }
  auto file = open_file(folder("memory") / "memory.oom_control", O_RDONLY);
  if (!file) return file.error();
  oom_notice_ = Descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  return write_text(folder("memory") / "cgroup.event_control",
                    std::to_string(oom_notice_.number()) + " " + std::to_string(file->number()));
}

bool Cgroup::take_oom_notice() const {
  char notice[512];
  const int from = oom_notice_.number();
  // v2: what was read is no news any more.
  return (hierarchies_->unified ? pread(from, notice, sizeof(notice), 0)
                                : read(from, notice, sizeof(notice))) > 0;
}

Result<> Cgroup::admit(pid_t pid) {
  const std::string text = std::to_string(pid);
  for (const Descriptor& entrance : entrances_) {
    if (write(entrance.number(), text.data(), text.size()) < 0) {
      return system_error(Code::unavailable, "entering cgroup " + name_);
    }
  }
  return ok;
}

Result<> Cgroup::limit(const Limits& limits) {
  processes_max_ = limits.processes_max;
  return hierarchies_->unified ? limit_v2(limits, "") : limit_v1(limits, "");
}

Result<> Cgroup::limit_program_only(const Limits& limits) {
  processes_max_ = limits.processes_max;
  const bool unified = hierarchies_->unified;
  const auto limited = unified ? limit_v2(limits, "oci") : limit_v1(limits, "oci");
  if (!limited) return limited;
  return unified ? lift_v2() : lift_v1();
}

Result<> Cgroup::lift_v1() {
  const fs::path memory = folder("memory");
  if (access((memory / "memory.memsw.limit_in_bytes").c_str(), F_OK) == 0) {
    if (auto set = write_text(memory / "memory.memsw.limit_in_bytes", "-1"); !set) return set;
  }
  if (auto set = write_text(memory / "memory.limit_in_bytes", "-1"); !set) return set;
  if (auto set = write_text(folder("cpu") / "cpu.cfs_quota_us", "-1"); !set) return set;
  return write_text(folder("pids") / "pids.max", "max");
}

Result<> Cgroup::lift_v2() {
  const fs::path own = folder("");
  if (auto set = write_text(own / "memory.oom.group", "0"); !set) return set;
  if (auto set = write_text(own / "memory.max", "max"); !set) return set;
  if (auto set = write_text(own / "cpu.max", "max"); !set) return set;
  return write_text(own / "pids.max", "max");
}

Result<> Cgroup::limit_v1(const Limits& limits, const char* part) {
  const fs::path memory = folder("memory") / part;
  const std::string bytes = std::to_string(limits.memory_bytes_max);
  // Memory with swap may never be below memory alone, so the order depends on the direction.
  auto first = write_text(memory / "memory.limit_in_bytes", bytes);
  if (!first && first.error().code == Code::conflict) return first;
  if (access((memory / "memory.memsw.limit_in_bytes").c_str(), F_OK) == 0) {
    if (auto set = write_text(memory / "memory.memsw.limit_in_bytes", bytes); !set) return set;
    if (!first) first = write_text(memory / "memory.limit_in_bytes", bytes);
  }
  if (!first) return first;
  const fs::path cpu = folder("cpu") / part;
  const auto shares = std::max<std::uint64_t>(2, limits.cpu_millicores_max * 1024ULL / 1000);
  if (auto set = write_text(cpu / "cpu.shares", std::to_string(shares)); !set) return set;
  if (auto set = write_text(cpu / "cpu.cfs_quota_us", quota_us(limits)); !set) return set;
  // What waits in sockets for IP is not counted there, and until this is set, nowhere.
  const fs::path sockets = memory / "memory.kmem.tcp.limit_in_bytes";
  if (access(sockets.c_str(), F_OK) == 0) {
    const auto most = std::max(sockets_bytes_least, limits.memory_bytes_max / 8);
    if (auto set = write_text(sockets, std::to_string(most)); !set) return set;
  }
  return write_text(folder("pids") / part / "pids.max", std::to_string(limits.processes_max));
}

Result<> Cgroup::limit_v2(const Limits& limits, const char* part) {
  const fs::path own = folder("") / part;
  const std::string bytes = std::to_string(limits.memory_bytes_max);
  if (auto set = write_text(own / "memory.max", bytes); !set) return set;
  if (fs::exists(own / "memory.swap.max")) {
    if (auto set = write_text(own / "memory.swap.max", "0"); !set) return set;
  }
  const auto weight = std::clamp<std::uint64_t>(limits.cpu_millicores_max / 10, 1, 10'000);
  if (auto set = write_text(own / "cpu.weight", std::to_string(weight)); !set) return set;
  const std::string max = quota_us(limits) + " " + std::to_string(cpu_period_us);
  if (auto set = write_text(own / "cpu.max", max); !set) return set;
  return write_text(own / "pids.max", std::to_string(limits.processes_max));
}

Duration Cgroup::cpu_time() const {
  if (!hierarchies_->unified) return Duration(read_number(cpu_.number()) / 1000);
  const auto text = read_again(cpu_.number());
  return Duration(text ? number_of(*text, "usage_usec") : 0);
}

Usage Cgroup::usage() const {
  return {.cpu_time = cpu_time(),
          .memory_bytes_peak = peak_ ? read_number(peak_.number()) : memory_bytes()};
}

std::uint64_t Cgroup::memory_bytes() const {
  return read_number(memory_.number());
}

void Cgroup::reset_peak() {
  if (peak_ && pwrite(peak_.number(), "0", 1, 0) < 0) return;  // v2 before 6.12: it stays.
}

// A kill counts in the victim's own group: the OCI runtime's, that of what entered before it, or
// this one. Those of slots are not this group's, so on v2 it is not asked about all below it.
std::uint64_t Cgroup::oom_kills() const {
  const bool unified = hierarchies_->unified;
  std::uint64_t kills = 0;
  for (const char* part : {"", "start", "oci"}) {
    const auto text = read_text(folder("memory") / part /
                                (unified ? "memory.events.local" : "memory.oom_control"));
    if (text) kills += number_of(*text, "oom_kill");
  }
  return kills;
}

void Cgroup::open_refusals() {
  for (const char* part : {"", "start", "oci"}) {
    const fs::path own = folder("pids") / part;
    Descriptor file(open((own / "pids.events.local").c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) file = Descriptor(open((own / "pids.events").c_str(), O_RDONLY | O_CLOEXEC));
    if (!file && errno != ENOENT) return refusals_.clear();  // Another time.
    if (file) refusals_.push_back(std::move(file));
  }
}

// The OCI runtime's part is the program; a group's own count would be of slots below it, too.
bool Cgroup::is_crowded() {
  if (!count_) {
    const fs::path own = folder("pids"), program = own / "oci";
    const bool has_part = access(program.c_str(), F_OK) == 0;
    auto file = open_file((has_part ? program : own) / "pids.current", O_RDONLY);
    if (file) count_ = *std::move(file);
  }
  return count_ && 2 * read_number(count_.number()) >= processes_max_;
}

std::uint64_t Cgroup::processes() const {
  std::uint64_t count = 0;
  for (const char* part : {"", "start", "oci"}) {
    const auto text = read_text(folder("pids") / part / "cgroup.procs");
    if (!text || text->empty()) continue;
    count += 1 + static_cast<std::uint64_t>(std::ranges::count(*text, '\n'));
  }
  return count;
}

// A refusal counts where the process is that wanted to fork, and on v2, from Linux 6.11 on, where
// the limit is instead; what is counted of groups below is told apart there.
std::uint64_t Cgroup::refused_forks() {
  if (refusals_.empty()) open_refusals();
  std::uint64_t refused = 0;
  for (const Descriptor& each : refusals_) {
    if (const auto text = read_again(each.number())) refused += number_of(*text, "max");
  }
  return refused;
}

}  // namespace dormouse::sandbox
