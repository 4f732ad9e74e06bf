#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "runtimes/snapshot/format.h"
#include "runtimes/snapshot/memory_map.h"
#include "runtimes/snapshot/process.h"
#include "runtimes/snapshot/snapshot.h"
#include "runtimes/snapshot/switch.h"
#include "wire/mapping.h"
#include "wire/socket.h"

namespace dormouse::snapshot {
namespace {

constexpr std::uint64_t addresses_end = 0x7ffffffff000;  // Of a process, with four-level tables.
constexpr std::uint64_t gib = std::uint64_t{1} << 30;
constexpr std::uint64_t stack_bytes = 64 << 10, kernels_bytes = 64 << 10;
constexpr std::uint64_t mapped_run_bytes_min = 256 << 10;  // Smaller ones are read.
constexpr std::uint64_t stack_gap = 1 << 20;  // Between a stack's room and what lies below it.
constexpr std::string_view failure_text = "a snapshot could not be woken: a system call failed\n";

constexpr std::uint64_t fixed = MAP_PRIVATE | MAP_FIXED_NOREPLACE;
constexpr std::uint64_t fixed_over = MAP_PRIVATE | MAP_FIXED;

std::uint64_t address(const void* pointer) {
  return reinterpret_cast<std::uint64_t>(pointer);
}

Error changed(std::string_view what) {
  return {Code::conflict, std::string(what) + " is not what the snapshot was made of"};
}

// The list of what is done when there is no way back.
class Steps {
 public:
  using Must = Step::Must;

  void call(long number, std::initializer_list<std::uint64_t> arguments, Must must = Must::succeed,
            std::uint64_t expected = 0) {
    Step step{.number = static_cast<std::uint64_t>(number), .must = must, .expected = expected};
    std::ranges::copy(arguments, step.arguments);
    steps_.push_back(step);
  }
  void map(std::uint64_t at, std::uint64_t bytes, std::uint64_t access, std::uint64_t flags,
           std::uint64_t file, std::uint64_t offset) {
    call(SYS_mmap, {at, bytes, access, flags, file, offset}, Must::be_expected, at);
  }
  void move(std::uint64_t from, std::uint64_t bytes, std::uint64_t to) {
    call(SYS_mremap, {from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to}, Must::be_expected,
         to);
  }
  std::span<const Step> all() const { return steps_; }

 private:
  std::vector<Step> steps_;
};

using Files = std::vector<wire::Descriptor>;  // By their place in the snapshot's table.

// Below the folder of the revision a file is what its name says for ever; what else is known of it
// changes with other revisions that have it, too.
bool is_same(const File& then, const File& now, bool is_revisions) {
  return then.bytes == now.bytes &&
         (is_revisions || (then.inode == now.inode && then.modified_ns == now.modified_ns &&
                           then.changed_ns == now.changed_ns));
}

// Opened, each the same as it was.
Result<Files> open_files(const Snapshot& it, const std::string& folder) {
  Files opened;
  for (const File& each : it.files) {
    const std::string name(it.name(each));
    wire::Descriptor file(open(name.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat status{};
    if (!file || fstat(file.number(), &status) != 0) return changed(name);
    File now{};
    identify(status, now);
    if (!is_same(each, now, name.starts_with(folder + "/"))) return changed(name);
    opened.push_back(std::move(file));
  }
  return opened;
}

// Where a script can lie: where neither what there is nor what will be is.
Result<std::uint64_t> find_place(std::span<const Mapping> now, std::span<const Region> then) {
  for (std::uint64_t at = gib; at < addresses_end - gib; at += gib) {
    const auto overlaps = [&](const auto& each) { return each.begin < at + gib && each.end > at; };
    if (std::ranges::none_of(now, overlaps) && std::ranges::none_of(then, overlaps)) return at;
  }
  return Error{Code::unsupported, "there is no free gibibyte of addresses"};
}

// What the kernel shows every process lies elsewhere in each: it is moved.
Result<std::vector<Mapping>> kernels_now(std::span<const Mapping> now,
                                         std::span<const Region> then) {
  std::vector<Mapping> found;
  for (const Mapping& each : now) {
    if (is_kernels(each.name)) found.push_back(each);
  }
  std::vector<Region> wanted;
  for (const Region& each : then) {
    if (each.kind == Kind::kernels) wanted.push_back(each);
  }
  std::uint64_t bytes = 0;
  bool same = found.size() == wanted.size();
  for (std::size_t i = 0; i < found.size() && same; ++i) {
    const std::uint64_t moved = found[i].begin - found.front().begin;
    bytes = found[i].end - found.front().begin;
    same = found[i].end - found[i].begin == wanted[i].end - wanted[i].begin &&
           moved == wanted[i].begin - wanted.front().begin;
  }
  if (!same || bytes > kernels_bytes) return changed("what the kernel shows every process");
  return found;
}

// The memory of the script, from its first byte on: code, Script, steps; at its end the kernel's
// pages on their way, and the stack.
class Place {
 public:
  explicit Place(std::uint64_t at) : begin_(at) {}
  std::uint64_t begin() const { return begin_; }
  std::uint64_t end() const { return begin_ + script_bytes; }
  std::uint64_t kernels() const { return end() - stack_bytes - kernels_bytes; }
  std::uint64_t script() const { return begin_ + page; }

  const Script& script_there() const { return *reinterpret_cast<const Script*>(script()); }

  Result<> take(const Thread& thread) const {
    const auto got = static_cast<std::uint64_t>(
        syscall(SYS_mmap, begin_, script_bytes, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
    if (got != begin_) return system_error(Code::unsupported, "making room for a script");
    std::memcpy(reinterpret_cast<void*>(begin_), switch_code(), switch_code_bytes());
    std::ranges::copy(failure_text, failure());
    there() = {.failure = failure(),
               .failure_bytes = failure_text.size(),
               .woken = reinterpret_cast<void*>(begin_),
               .thread = thread,
               .signals = ~std::uint64_t{0},
               .addresses = map_of(thread.addresses)};
    return ok;
  }
  Result<> write(std::span<const Step> steps) const {
    auto* const list = reinterpret_cast<Step*>(failure() + page);
    if (address(list) + steps.size_bytes() > kernels()) {
      return Error{Code::unsupported, "its memory is in too many pieces"};
    }
    std::ranges::copy(steps, list);
    there().steps = list;
    there().count = steps.size();
    if (mprotect(reinterpret_cast<void*>(begin_), page, PROT_READ | PROT_EXEC) == 0) return ok;
    return system_error(Code::unsupported, "making the script executable");
  }
  void give_back() const { munmap(reinterpret_cast<void*>(begin_), script_bytes); }

  [[noreturn]] void go() const {
    using Go = void (*)(std::uint64_t script, std::uint64_t stack_end);
    reinterpret_cast<Go>(begin_)(script(), end());
    __builtin_unreachable();
  }

 private:
  Script& there() const { return *reinterpret_cast<Script*>(script()); }
  char* failure() const { return reinterpret_cast<char*>(script() + page); }

  std::uint64_t begin_;
};

void let_go(Steps& steps, const Place& place, std::span<const Mapping> kernels) {
  const std::uint64_t* const all = &place.script_there().signals;
  steps.call(SYS_rt_sigprocmask, {SIG_SETMASK, address(all), 0, sizeof *all});
  if (const Rseq rseq = rseq_of_this(); rseq.bytes != 0) {
    constexpr std::uint64_t unregister = 1;  // RSEQ_FLAG_UNREGISTER
    steps.call(SYS_rseq, {rseq.at, rseq.bytes, unregister, rseq_signature});
  }
  for (const Mapping& each : kernels) {
    steps.move(each.begin, each.end - each.begin,
               place.kernels() + (each.begin - kernels.front().begin));
  }
  steps.call(SYS_munmap, {page, place.begin() - page});
  steps.call(SYS_munmap, {place.end(), addresses_end - place.end()});
}

// The kernel lets a stack grow; here it has its room from the start, in which nothing is taken.
std::uint64_t stack_begin(std::span<const Region> regions, std::size_t stack) {
  rlimit limit{};
  const bool limited = getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
  const std::uint64_t wanted = limited ? limit.rlim_cur & ~(page - 1) : 8 << 20;
  const Region& region = regions[stack];
  const std::uint64_t below = stack == 0 ? 0 : regions[stack - 1].end + stack_gap;
  return std::min(region.begin, std::max(region.end - std::min(region.end, wanted), below));
}

void map_region(Steps& steps, const Snapshot& it, std::size_t number, const Files& opened,
                bool written_first) {
  const Region& region = it.regions[number];
  const std::uint64_t access = region.access | (written_first ? PROT_WRITE : 0u);
  const std::uint64_t bytes = region.end - region.begin;
  constexpr std::uint64_t none = ~std::uint64_t{0};
  switch (region.kind) {
    case Kind::anonymous:
      return steps.map(region.begin, bytes, access, fixed | MAP_ANONYMOUS, none, 0);
    case Kind::stack: {
      const std::uint64_t begin = stack_begin(it.regions, number);
      return steps.map(begin, region.end - begin, access, fixed | MAP_ANONYMOUS | MAP_NORESERVE,
                       none, 0);
    }
    case Kind::private_file:
      return steps.map(region.begin, bytes, access, fixed,
                       static_cast<std::uint64_t>(opened[region.file].number()), region.offset);
    case Kind::shared_file:
      return steps.map(region.begin, bytes, access, MAP_SHARED | MAP_FIXED_NOREPLACE,
                       static_cast<std::uint64_t>(opened[region.file].number()), region.offset);
    case Kind::kernels: return;
  }
}

bool is_mapped(const Region& region, const Run& run) {
  return region.kind == Kind::anonymous && run.bytes >= mapped_run_bytes_min;
}

void bring(Steps& steps, const Snapshot& it, const Files& opened, int file) {
  const auto from = static_cast<std::uint64_t>(file);
  std::size_t next = 0;
  for (std::size_t i = 0; i < it.regions.size(); ++i) {
    const Region& region = it.regions[i];
    std::size_t end = next;
    bool reads = false;
    for (; end < it.runs.size() && it.runs[end].region == i; ++end) {
      reads = reads || !is_mapped(region, it.runs[end]);
    }
    const bool opens = reads && (region.access & PROT_WRITE) == 0;
    map_region(steps, it, i, opened, opens);
    for (; next < end; ++next) {
      const Run& run = it.runs[next];
      if (is_mapped(region, run)) {
        steps.map(run.begin, run.bytes, region.access, fixed_over, from, run.at);
      } else {
        steps.call(SYS_pread64, {from, run.begin, run.bytes, run.at}, Steps::Must::be_expected,
                   run.bytes);
      }
    }
    const std::uint64_t bytes = region.end - region.begin;
    if (opens) steps.call(SYS_mprotect, {region.begin, bytes, region.access});
    if (region.advice != 0) {  // A kernel may have no huge pages.
      steps.call(SYS_madvise, {region.begin, bytes, region.advice}, Steps::Must::nothing);
    }
  }
}

// What the kernel knows of a thread. The table is the script's own.
void become(Steps& steps, const Script& script) {
  const Thread& thread = script.thread;
  constexpr std::uint64_t set_fs = 0x1002;        // ARCH_SET_FS of <asm/prctl.h>.
  constexpr std::uint64_t robust_list_head = 24;  // sizeof(struct robust_list_head)
  steps.call(SYS_prctl,
             {PR_SET_MM, PR_SET_MM_MAP, address(&script.addresses), sizeof script.addresses, 0});
  steps.call(SYS_arch_prctl, {set_fs, thread.thread_pointer});
  steps.call(SYS_set_tid_address, {thread.id_address});
  steps.call(SYS_set_robust_list, {thread.robust_list, robust_list_head});
  if (thread.rseq_bytes != 0) {
    steps.call(SYS_rseq, {thread.rseq, thread.rseq_bytes, 0, rseq_signature});
  }
  steps.call(SYS_umask, {thread.file_mask}, Steps::Must::nothing);
  const auto now = limits_of_this();
  for (std::uint64_t kind = 0; kind < limit_kinds; ++kind) {
    const Limit* const then = &thread.limits[kind];
    // That of files was for the saving alone.
    const bool is_same = then->now == now[kind].now && then->most == now[kind].most;
    if (is_same || kind == RLIMIT_FSIZE) continue;
    steps.call(SYS_prlimit64, {0, kind, address(then), 0});
  }
  for (std::uint64_t signal = 1; signal <= signals; ++signal) {
    if (signal == SIGKILL || signal == SIGSTOP) continue;
    const SignalAction* const action = &thread.signal_actions[signal - 1];
    steps.call(SYS_rt_sigaction, {signal, address(action), 0, sizeof action->mask});
  }
  steps.call(SYS_sigaltstack, {address(&thread.signal_stack), 0});
  const std::uint64_t* const mask = &thread.signal_mask;
  steps.call(SYS_rt_sigprocmask, {SIG_SETMASK, address(mask), 0, sizeof *mask});
}

Result<Snapshot> read_tables(int file, std::shared_ptr<void>& tables) {
  struct stat status{};
  if (fstat(file, &status) != 0) return system_error(Code::unsupported, "opening the snapshot");
  Header header{};
  const bool got = pread(file, &header, sizeof header, 0) == sizeof header;
  const auto file_bytes = static_cast<std::uint64_t>(status.st_size);
  if (!got || header.contents > file_bytes || header.contents < sizeof header) {
    return Error{Code::invalid_argument, "this is no snapshot"};
  }
  auto mapped = wire::map(file, header.contents, PROT_READ);
  if (!mapped) return std::move(mapped).error();
  tables = *std::move(mapped);
  return read({static_cast<const std::byte*>(tables.get()), header.contents}, file_bytes);
}

Result<> prepare(const Snapshot& it, const Waking& waking, const Place& place,
                 std::span<const Mapping> now) {
  auto opened = open_files(it, waking.folder);
  if (!opened) return std::move(opened).error();
  const auto kernels = kernels_now(now, it.regions);
  if (!kernels) return kernels.error();
  Steps steps;
  let_go(steps, place, *kernels);
  const auto wanted = std::ranges::find(it.regions, Kind::kernels, &Region::kind);
  for (const Mapping& each : *kernels) {
    const std::uint64_t moved = each.begin - kernels->front().begin;
    steps.move(place.kernels() + moved, each.end - each.begin, wanted->begin + moved);
  }
  bring(steps, it, *opened, waking.file);
  for (const wire::Descriptor& each : *opened) {
    steps.call(SYS_close, {static_cast<std::uint64_t>(each.number())});
  }
  steps.call(SYS_close, {static_cast<std::uint64_t>(waking.file)});
  become(steps, place.script_there());
  const auto written = place.write(steps.all());
  if (!written) return written;
  place.go();
}

}  // namespace

Error wake(const Waking& waking) {
  const std::array<int, 2> known{waking.file, waking.socket};
  const auto alone = is_alone(known);
  if (!alone) return alone.error();
  std::shared_ptr<void> tables;
  const auto it = read_tables(waking.file, tables);
  if (!it) return it.error();
  if (it->key != waking.key) return changed("this node, or a library,");
  const auto allowed = ask_for_features(it->header->thread.features);
  if (!allowed) return allowed.error();
  Room room(std::size_t{16} << 20);
  if (!room.is_there()) return system_error(Code::unsupported, "reading what is mapped");
  const auto now = mappings_of_this(room);
  if (!now) return now.error();
  const auto at = find_place(*now, it->regions);
  if (!at) return at.error();
  const Place place(*at);
  const auto taken = place.take(it->header->thread);
  if (!taken) return taken.error();
  const auto prepared = prepare(*it, waking, place, *now);
  place.give_back();
  return prepared.error();
}

}  // namespace dormouse::snapshot
