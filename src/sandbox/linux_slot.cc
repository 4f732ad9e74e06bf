#include "sandbox/linux_slot.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <set>

#include "sandbox/files.h"
#include "sandbox/memory_search.h"
#include "sandbox/threads.h"

namespace dormouse::sandbox {
namespace {

// The kernel charges the page tables of every fork to where its parent was, for as long as the fork
// lives: an eighth of the heap pays for 64 forks with small pages, for far more with huge ones.
constexpr std::uint64_t page_tables_bytes = 32 << 20;

void remove_slot(const Estate& estate, const std::string& name, const Process& first,
                 const SlotRoot& root) {
  const std::string group = estate.cgroup(name);
  (void)kill_group(estate.hierarchies, group, dying_max);
  (void)remove_group(estate.hierarchies, group, dying_max);
  (void)remove_slot_root(first, root);  // Fails when the whole sandbox is gone, as it should be.
}

Error gone() {
  return {Code::not_found, "the fork has ended"};
}

// Blocks: the kernel may wait for all processors before it moves a process, 10 ms and more.
Result<Process> enter(Cgroup& group, pid_t pid, const std::string& sandbox) {
  Process fork{pid, wire::Descriptor(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)))};
  if (!fork.handle && pid > 0 && (errno == ESRCH || errno == EINVAL)) return gone();
  if (!fork.handle) return system_error(Code::invalid_argument, "pidfd_open");
  // The number may be another process's by now, of anyone's.
  const auto groups = read_text("/proc/" + std::to_string(pid) + "/cgroup");
  if (has_ended(fork)) return gone();
  if (!groups || !groups->contains(sandbox)) {
    return Error{Code::invalid_argument, "the fork is no process of its sandbox"};
  }
  if (auto entered = group.admit(pid); !entered) {
    return has_ended(fork) ? gone() : std::move(entered).error();
  }
  group.close_entrances();
  return fork;
}

// The pidfd of the sandbox's first process, for a thread that may outlast the sandbox.
Process same(const Process& process) {
  return {process.pid, wire::Descriptor(copy_of(process.handle.number()))};
}

class LinuxSlot final : public Slot {
 public:
  LinuxSlot(std::shared_ptr<Watch> sandbox, const SlotSpec& spec, MadeSlot made)
      : sandbox_(std::move(sandbox)),
        spec_(spec),
        root_(spec.root().path()),
        name_(slot_name(*sandbox_, spec)),
        made_(std::move(made)),
        end_(std::make_shared<EndSignal>(sandbox_->process.get_executor())) {}

  ~LinuxSlot() override {
    std::shared_ptr<Launched> rest;
    if (watch_) rest = std::make_shared<Launched>(watch_->close());
    end_->give({Exit::killed, 128 + SIGKILL});
    auto* workshop = sandbox_->workshop;
    auto first = std::make_shared<Process>(same(sandbox_->launched.process));
    workshop->slotting.give([workshop, rest, first, name = name_, root = spec_.root()] {
      remove_slot(workshop->estate, name, *first, root);
    });
  }

  const std::string& name() const override { return name_; }
  const std::string& root() const override { return root_; }
  std::uint32_t uid() const override { return spec_.uid(); }
  int socket() const override { return made_.ends.socket.number(); }
  int output() const override { return made_.ends.output.number(); }
  Inner take_inner() override {
    for (const auto* own : {&made_.ends.inner_socket, &made_.ends.inner_output}) {
      struct stat status{};
      if (fstat(own->number(), &status) == 0) own_inodes_.insert(status.st_ino);
    }
    return {std::move(made_.ends.inner_socket), std::move(made_.ends.inner_output)};
  }

  asio::awaitable<Result<>> admit(pid_t pid) override {
    CHECK(!watch_);
    const std::string own = "/" + sandbox_->workshop->estate.cgroup(sandbox_->name) + "/";
    auto work = [pid, own, group = made_.group.get()] { return enter(*group, pid, own); };
    auto entering = sandbox_->workshop->admitting.run(std::move(work));
    auto entered = co_await std::move(entering);
    if (!entered) co_return std::move(entered).error();
    const int off = 0;
    setsockopt(socket(), SOL_SOCKET, SO_PASSCRED, &off, sizeof(off));
    Launched launched;
    launched.process = *std::move(entered);
    launched.group = std::move(made_.group);
    watch_ = std::make_shared<Watch>(sandbox_->process.get_executor(), sandbox_->workshop, name_,
                                     std::move(launched));
    watch_->end = end_;
    watch_->begin();
    co_return ok;
  }

  asio::awaitable<Result<>> reveal(std::filesystem::path) override { co_return not_of_a_slot(); }
  asio::awaitable<Result<>> attach(Reach) override { co_return not_of_a_slot(); }
  asio::awaitable<Result<std::unique_ptr<Slot>>> make_slot(Limits) override {
    co_return not_of_a_slot();
  }
  asio::awaitable<Result<wire::Descriptor>> connect(std::uint16_t) override {
    co_return not_of_a_slot();
  }
  Result<> set_limits(const Limits& limits) override { return group().limit(limits); }
  asio::awaitable<Ended> wait() override {
    if (!watch_) kill();
    return EndSignal::wait(end_);
  }
  void kill() override {
    if (watch_) return watch_->kill_all();
    end_->give({Exit::killed, 128 + SIGKILL});  // It never came.
  }
  Usage usage() const override {
    if (!watch_) return {};
    return watch_->final_usage ? *watch_->final_usage : watch_->usage();
  }
  Duration cpu_time() const override {
    if (!watch_) return {};
    return watch_->final_usage ? watch_->final_usage->cpu_time : watch_->cpu_time();
  }
  std::uint64_t memory_bytes() const override {
    return watch_ && !watch_->final_usage ? group().memory_bytes() : 0;
  }
  void reset_peak() override { group().reset_peak(); }
  std::optional<Duration> mind_forks(TimePoint now) override {
    return watch_ ? watch_->mind_forks(now) : ForkStorm::seldom;
  }
  asio::awaitable<Pages> pages() const override {
    if (!watch_) co_return Pages{};
    co_return co_await watch_->pages("");
  }
  std::vector<std::string> inherited_files() const override {
    CHECK(watch_);
    std::vector<std::string> names;
    for (OpenFile& each : open_files_of(watch_->launched.process.pid)) {
      if (!own_inodes_.contains(each.inode)) names.push_back(std::move(each.name));
    }
    return names;
  }
  asio::awaitable<Result<LeftBehind>> left_behind() const override {
    CHECK(watch_);
    const Estate& estate = sandbox_->workshop->estate;
    auto work = [fork = watch_->launched.process.pid, &hierarchies = estate.hierarchies,
                 group = estate.cgroup(sandbox_->name) + "/oci"]() -> Result<LeftBehind> {
      const pid_t parent = parent_of(fork);
      if (parent <= 1) return Error{Code::not_found, "it has ended"};
      return LeftBehind{threads_of(parent), beside(parent, processes_of(hierarchies, group))};
    };
    co_return co_await watch_->workshop->revealing.run(std::move(work));
  }
  asio::awaitable<Result<std::vector<std::size_t>>> values_inherited(
      std::vector<std::string> values) const override {
    CHECK(watch_);
    auto work = [fork = watch_->launched.process.pid,
                 values = std::move(values)]() -> Result<std::vector<std::size_t>> {
      const pid_t parent = parent_of(fork);
      if (parent <= 1) return Error{Code::not_found, "it has ended"};
      return values_in_memory(parent, values);
    };
    co_return co_await watch_->workshop->searching.run(std::move(work));
  }

  static std::string slot_name(const Watch& sandbox, const SlotSpec& spec) {
    return sandbox.name + "/" + std::string(slot_prefix) + std::to_string(spec.number);
  }

 private:
  static Error not_of_a_slot() { return {Code::unsupported, "a slot cannot do this"}; }
  Cgroup& group() const { return watch_ ? *watch_->launched.group : *made_.group; }

  const std::shared_ptr<Watch> sandbox_;
  const SlotSpec spec_;
  const std::string root_;
  const std::string name_;
  MadeSlot made_;
  std::set<ino_t> own_inodes_;  // Of the fork's ends.
  std::shared_ptr<EndSignal> end_;
  std::shared_ptr<Watch> watch_;  // From admit() on.
};

// Nothing but the program was in the sandbox so far.
Result<> make_first(Watch& sandbox, const SlotSpec& spec) {
  if (sandbox.launched.has_slots) return ok;
  Limits program = spec.program_limits;
  program.memory_bytes_max += program.memory_bytes_max / 8 + page_tables_bytes;
  auto limited = sandbox.launched.group->limit_program_only(program);
  if (!limited) return limited;
  auto begun = begin_slot_roots(sandbox.launched.process);
  sandbox.launched.has_slots = begun.has_value();
  return begun;
}

Result<MadeSlot> make(Watch& sandbox, const SlotSpec& spec) {
  const Estate& estate = sandbox.workshop->estate;
  if (auto first = make_first(sandbox, spec); !first) return first.error();
  MadeSlot made;
  auto group =
      Cgroup::make(&estate.hierarchies, estate.cgroup(LinuxSlot::slot_name(sandbox, spec)));
  if (!group) return std::move(group).error();
  made.group = std::move(*group);
  if (auto limited = made.group->limit(spec.limits); !limited) return limited.error();
  auto rooted = make_slot_root(sandbox.launched.process, spec.root());
  if (!rooted) return rooted.error();
  auto ends = make_ends();
  if (!ends) return ends.error();
  made.ends = std::move(*ends);
  const int on = 1;
  if (setsockopt(made.ends.socket.number(), SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) != 0) {
    return system_error(Code::unavailable, "SO_PASSCRED");
  }
  return made;
}

}  // namespace

Result<MadeSlot> make_slot_of(Watch& sandbox, const SlotSpec& spec) {
  auto made = make(sandbox, spec);
  if (!made) {
    remove_slot(sandbox.workshop->estate, LinuxSlot::slot_name(sandbox, spec),
                sandbox.launched.process, spec.root());
  }
  return made;
}

std::unique_ptr<Slot> linux_slot(std::shared_ptr<Watch> sandbox, const SlotSpec& spec,
                                 MadeSlot made) {
  return std::make_unique<LinuxSlot>(std::move(sandbox), spec, std::move(made));
}

}  // namespace dormouse::sandbox
