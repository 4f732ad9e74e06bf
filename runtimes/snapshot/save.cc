#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <string>

#include "runtimes/snapshot/format.h"
#include "runtimes/snapshot/memory_map.h"
#include "runtimes/snapshot/process.h"
#include "runtimes/snapshot/snapshot.h"
#include "runtimes/snapshot/switch.h"
#include "wire/socket.h"

namespace dormouse::snapshot {
namespace {

constexpr std::uint64_t addresses_max = std::uint64_t{64} << 30;
constexpr std::size_t room_bytes = std::size_t{256} << 20;  // Taken as it is used.

// Everything that is written: filled in before mark(), so that memory does not change as it is
// written. The tables lie in a Room, which is left out.
struct Plan {
  Header header;
  std::string_view key, names;
  std::span<const File> files;
  std::span<const Region> regions;
  std::span<const Run> runs;
  std::uint64_t bytes = 0;  // Of the file.
};

Error too_many_pieces() {
  return {Code::too_large, "its memory is in too many pieces"};
}

Error not_saved(const std::string& why) {
  return {Code::unsupported, "it has " + why};
}

bool has(const Mapping& it, std::string_view flag) {
  return it.flags.contains(flag);  // Each has two letters, and a space behind it.
}

std::uint64_t advice_of(const Mapping& it) {
  if (has(it, "hg")) return MADV_HUGEPAGE;
  return has(it, "nh") ? MADV_NOHUGEPAGE : 0;
}

Result<Kind> kind_of(const Mapping& it) {
  if (it.name == "[stack]") return Kind::stack;
  if (is_kernels(it.name)) return Kind::kernels;
  // MADV_WIPEONFORK, MADV_DONTFORK, MAP_DROPPABLE: such as states of random generators.
  if (has(it, "wf") || has(it, "dc") || has(it, "dp")) {
    return not_saved("memory that no fork is to have");
  }
  const bool has_file = it.inode != 0 && it.name.starts_with('/');
  if (has_file && !it.name.ends_with(" (deleted)")) {
    if (!it.is_shared) return Kind::private_file;
    if ((it.access & PROT_WRITE) == 0) return Kind::shared_file;
  }
  if (it.is_shared) return not_saved("memory that it shares with others");
  if (it.inode != 0) return not_saved("memory of a file that is gone: " + std::string(it.name));
  if ((it.access & PROT_EXEC) != 0) return not_saved("code that it compiled itself");
  return Kind::anonymous;
}

// Tables of files and regions.
class Layout {
 public:
  explicit Layout(Room& room) : room_(room) {}

  Result<> lay_out(std::span<const Mapping> all, Plan& plan) {
    for (const Mapping& each : all) {
      const auto kind = kind_of(each);
      if (!kind) return kind.error();
    }
    const auto files = note_files(all);
    if (!files) return files;
    plan.files = files_;
    plan.names = names_;
    return note_regions(all, plan);
  }

 private:
  Result<> note_files(std::span<const Mapping> all) {
    const std::span<std::string_view> paths = room_.rest<std::string_view>();
    std::size_t count = 0, bytes = 0;
    for (const Mapping& each : all) {
      const auto known = paths.first(count);
      if (each.inode == 0 || std::ranges::find(known, each.name) != known.end()) continue;
      if (count == paths.size()) return too_many_pieces();
      paths[count++] = each.name;
      bytes += each.name.size() + 1;
    }
    paths_ = room_.keep<std::string_view>(count);
    if (room_.rest<char>().size() < bytes + count * sizeof(File)) return too_many_pieces();
    const std::span<char> names = room_.keep<char>(bytes);
    const std::span<File> files = room_.keep<File>(count);
    std::size_t at = 0;
    for (std::size_t i = 0; i < count; ++i) {
      std::ranges::copy(paths_[i], names.begin() + static_cast<std::ptrdiff_t>(at));
      names[at + paths_[i].size()] = '\0';
      struct stat status{};
      if (stat(names.data() + at, &status) != 0) {
        return system_error(Code::unsupported, "looking at " + std::string(paths_[i]));
      }
      files[i].name = at;
      identify(status, files[i]);
      at += paths_[i].size() + 1;
    }
    names_ = {names.data(), names.size()};
    files_ = files;
    return ok;
  }

  Result<> note_regions(std::span<const Mapping> all, Plan& plan) {
    if (room_.rest<Region>().size() < all.size()) return too_many_pieces();
    const std::span<Region> regions = room_.keep<Region>(all.size());
    std::size_t count = 0;
    for (const Mapping& each : all) {
      const auto file = std::ranges::find(paths_, each.name) - paths_.begin();
      regions[count++] = {.begin = each.begin,
                          .end = each.end,
                          .kind = *kind_of(each),
                          .access = each.access,
                          .file = static_cast<std::uint64_t>(file),
                          .offset = each.inode == 0 ? 0 : each.offset,
                          .advice = advice_of(each)};
    }
    plan.regions = regions.first(count);
    return ok;
  }

  Room& room_;
  std::span<const std::string_view> paths_;
  std::string_view names_;
  std::span<const File> files_;
};

// Finds the pages that differ from what a region would have by itself.
class Search {
 public:
  Search(Room& room, int pagemap) : space_(room.rest<Run>()), room_(room), pagemap_(pagemap) {}

  Result<std::span<Run>> look_through(std::span<const Region> regions) {
    for (std::size_t i = 0; i < regions.size(); ++i) {
      const Region& each = regions[i];
      if (each.kind == Kind::kernels || each.kind == Kind::shared_file) continue;
      const auto looked = look_through(each, i);
      if (!looked) return looked.error();
    }
    return room_.keep<Run>(count_);
  }

 private:
  static constexpr std::uint64_t present = std::uint64_t{1} << 63, swapped = std::uint64_t{1} << 62,
                                 of_file = std::uint64_t{1} << 61;

  Result<> look_through(const Region& region, std::size_t number) {
    looked_at_ += region.end - region.begin;
    if (looked_at_ > addresses_max) {
      return Error{Code::unsupported, "it has more than 64 GiB of addresses"};
    }
    for (std::uint64_t at = region.begin; at < region.end;) {
      const std::uint64_t pages =
          std::min<std::uint64_t>((region.end - at) / page, entries_.size());
      const auto bytes = static_cast<ssize_t>(pages * sizeof(std::uint64_t));
      const auto offset = static_cast<off_t>(at / page * sizeof(std::uint64_t));
      if (pread(pagemap_, entries_.data(), static_cast<std::size_t>(bytes), offset) != bytes) {
        return system_error(Code::unsupported, "reading /proc/self/pagemap");
      }
      for (std::uint64_t i = 0; i < pages; ++i, at += page) {
        if ((region.access & PROT_READ) == 0 && is_own(entries_[i])) {
          return not_saved("memory that it cannot read");
        }
        if (differs(region, at, entries_[i]) && !add(at, number)) return too_many_pieces();
      }
    }
    return ok;
  }

  static bool differs(const Region& region, std::uint64_t at, std::uint64_t entry) {
    // Of the stack all that is in use: what lies below changes as we look.
    if (region.kind == Kind::stack) return at + page > address_of_here();
    return is_own(entry) && (region.kind == Kind::private_file || !is_zero(at));
  }

  // Neither nothing nor a file's.
  static bool is_own(std::uint64_t entry) {
    return (entry & swapped) != 0 || ((entry & present) != 0 && (entry & of_file) == 0);
  }

  [[gnu::noinline]] static std::uint64_t address_of_here() {
    return reinterpret_cast<std::uint64_t>(__builtin_frame_address(0));
  }

  static bool is_zero(std::uint64_t at) {
    const auto* words = reinterpret_cast<const std::uint64_t*>(at);
    return words[0] == 0 && std::memcmp(words, words + 1, page - sizeof *words) == 0;
  }

  bool add(std::uint64_t at, std::uint64_t region) {
    if (count_ > 0 && space_[count_ - 1].region == region &&
        space_[count_ - 1].begin + space_[count_ - 1].bytes == at) {
      space_[count_ - 1].bytes += page;
      return true;
    }
    if (count_ == space_.size()) return false;
    space_[count_++] = {.begin = at, .bytes = page, .at = 0, .region = region};
    return true;
  }

  const std::span<Run> space_;
  Room& room_;
  const int pagemap_;
  std::size_t count_ = 0;
  std::uint64_t looked_at_ = 0;
  std::array<std::uint64_t, 512> entries_;
};

std::uint64_t rounded(std::uint64_t bytes) {
  return (bytes + page - 1) & ~(page - 1);
}

void place(Plan& plan, std::span<Run> runs) {
  Header& header = plan.header;
  header.magic = magic;
  header.key_bytes = plan.key.size();
  header.name_bytes = plan.names.size();
  header.files = plan.files.size();
  header.regions = plan.regions.size();
  header.runs = runs.size();
  header.contents = rounded(sizeof header + plan.files.size_bytes() + plan.regions.size_bytes() +
                            runs.size_bytes() + plan.key.size() + plan.names.size());
  std::uint64_t at = header.contents;
  for (Run& run : runs) {
    run.at = at;
    at += run.bytes;
  }
  plan.runs = runs;
  plan.bytes = at;
}

Result<> check_size(std::uint64_t bytes) {
  const std::uint64_t most = limits_of_this()[RLIMIT_FSIZE].now;
  if (bytes <= most) return ok;
  return Error{Code::too_large,
               "it has " + std::to_string(bytes >> 20) + " MiB in memory, more than was declared"};
}

// 0, or an errno. No memory of this process but the stack below the caller changes.
int write_all(int file, const void* from, std::uint64_t bytes, std::uint64_t at) {
  const char* next = static_cast<const char*>(from);
  while (bytes > 0) {
    const ssize_t wrote = pwrite(file, next, bytes, static_cast<off_t>(at));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return wrote < 0 ? errno : ENOSPC;
    next += wrote;
    at += static_cast<std::uint64_t>(wrote);
    bytes -= static_cast<std::uint64_t>(wrote);
  }
  return 0;
}

[[gnu::noinline]] int write_out(int file, const Plan& plan) {
  std::uint64_t at = 0;
  int failed = 0;
  const auto put = [&](const void* from, std::uint64_t bytes) {
    if (failed == 0) failed = write_all(file, from, bytes, at);
    at += bytes;
  };
  put(&plan.header, sizeof plan.header);
  put(plan.files.data(), plan.files.size_bytes());
  put(plan.regions.data(), plan.regions.size_bytes());
  put(plan.runs.data(), plan.runs.size_bytes());
  put(plan.key.data(), plan.key.size());
  put(plan.names.data(), plan.names.size());
  for (const Run& run : plan.runs) {
    if (failed != 0) break;
    failed = write_all(file, reinterpret_cast<const void*>(run.begin), run.bytes, run.at);
  }
  return failed;
}

// Of a process that hides its memory it is root's, its own as well: it may look for that moment.
wire::Descriptor open_pagemap() {
  const int dumpable = prctl(PR_GET_DUMPABLE);
  if (dumpable == 0) (void)prctl(PR_SET_DUMPABLE, 1);
  wire::Descriptor file(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  const int failed = errno;
  if (dumpable == 0) (void)prctl(PR_SET_DUMPABLE, 0);
  errno = failed;
  return file;
}

// Reads what there is; nothing is allocated from here on.
Result<> survey(Room& room, Plan& plan) {
  const auto mappings = mappings_of_this(room, With::flags);
  if (!mappings) return mappings.error();
  // Neither the Room, nor what lies in the kernel's half of all addresses.
  const auto left = std::ranges::remove_if(*mappings, [&](const Mapping& it) {
    return it.begin == room.begin() || it.name == "[vsyscall]";
  });
  const auto laid = Layout(room).lay_out({mappings->begin(), left.begin()}, plan);
  if (!laid) return laid;
  const wire::Descriptor pagemap = open_pagemap();
  if (!pagemap) return system_error(Code::unsupported, "opening /proc/self/pagemap");
  const auto runs = Search(room, pagemap.number()).look_through(plan.regions);
  if (!runs) return runs.error();
  place(plan, *runs);
  return check_size(plan.bytes);
}

// No handler of a signal changes memory that is being written. A process that is woken has the mask
// of before.
class Undisturbed {
 public:
  Undisturbed() {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before_);
  }
  ~Undisturbed() { sigprocmask(SIG_SETMASK, &before_, nullptr); }
  Undisturbed(const Undisturbed&) = delete;
  Undisturbed& operator=(const Undisturbed&) = delete;

 private:
  sigset_t before_{};
};

// What a process that was woken knows better than its memory.
void settle(const Thread& thread) {
  *reinterpret_cast<pid_t*>(thread.id_address) = static_cast<pid_t>(syscall(SYS_gettid));
}

}  // namespace

Result<Side> save(int file, int socket, std::string_view key) {
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
  return Error{Code::unsupported, "a sanitizer watches it"};
#endif
  const std::array<int, 2> known{file, socket};
  const auto alone = is_alone(known);
  if (!alone) return alone.error();
  const auto thread = thread_of_this();
  if (!thread) return thread.error();
  Room room(room_bytes);
  if (!room.is_there()) return system_error(Code::unsupported, "making room for its tables");
  const Undisturbed undisturbed;
  Plan plan{};
  plan.header.thread = *thread;
  plan.key = key;
  const auto surveyed = survey(room, plan);
  if (!surveyed) return surveyed.error();
  void* const left_over = dormouse_snapshot_mark(&plan.header.thread.registers);
  if (left_over != nullptr) {
    munmap(left_over, script_bytes);
    settle(plan.header.thread);
    return Side::woken;
  }
  const int failed = write_out(file, plan);
  if (failed != 0) return system_error(Code::unavailable, "writing the snapshot", failed);
  return Side::saved;
}

}  // namespace dormouse::snapshot
