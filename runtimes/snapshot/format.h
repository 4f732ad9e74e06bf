// A snapshot's file, from its first byte: a Header, the tables of files, regions and runs, each as
// it lies in memory here, the key, and the names of files; from `contents` on the pages that runs
// name. It is read by the same program on the same machine, as the key says, and never elsewhere.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace dormouse::snapshot {

inline constexpr std::uint64_t page = 4096;
inline constexpr int signals = 64;

// What a call of mark() keeps (System V ABI, x86-64): registers that it may not change, its stack,
// where it returns to, and the modes of floating point. switch.cc knows the offsets.
struct Registers {
  std::uint64_t rbx, rbp, r12, r13, r14, r15, rsp, rip;
  std::uint32_t mxcsr;
  std::uint32_t x87;
};

struct SignalAction {  // As the kernel's rt_sigaction has it.
  std::uint64_t action, flags, restorer, mask;
};

struct SignalStack {  // stack_t.
  std::uint64_t begin;
  std::int32_t flags, unused;
  std::uint64_t bytes;
};

// Where parts of a process's memory are, by the names of prctl(2)'s PR_SET_MM. The heap grows from
// `brk` on; the others are for those who look at it.
struct Addresses {
  std::uint64_t start_code, end_code, start_data, end_data, start_brk, brk, start_stack, arg_start,
      arg_end, env_start, env_end;
};

inline constexpr std::size_t limit_kinds = 16;
struct Limit {  // Of getrlimit(2).
  std::uint64_t now, most;
};

// What the kernel knows of the one thread, and of its process, beside memory.
struct Thread {
  Registers registers;
  std::uint64_t thread_pointer;
  std::uint64_t id_address;   // Where the C library keeps its id: set_tid_address(2).
  std::uint64_t robust_list;  // set_robust_list(2).
  std::uint64_t rseq, rseq_bytes;
  std::uint64_t signal_mask;
  std::uint64_t features;  // Of the processor, that it was allowed to use: ARCH_GET_XCOMP_PERM.
  Addresses addresses;
  SignalStack signal_stack;
  std::uint64_t file_mask;                // umask(2).
  std::array<Limit, limit_kinds> limits;  // By RLIMIT_….
  std::array<SignalAction, signals> signal_actions;
};

struct Header {
  std::array<char, 16> magic;
  std::uint64_t key_bytes, name_bytes, files, regions, runs;
  std::uint64_t contents;  // Where pages begin in the file.
  Thread thread;
};
inline constexpr std::array<char, 16> magic = {"dormouse-snap-1"};

// One that parts of memory are of. It must be the same when the memory comes back.
struct File {
  std::uint64_t name;  // Where it begins among the names; it ends with a NUL.
  std::uint64_t bytes;
  std::uint64_t inode;
  std::int64_t modified_ns, changed_ns;
};

enum class Kind : std::uint32_t {
  anonymous,
  stack,
  private_file,
  shared_file,  // That nobody writes to.
  kernels,      // vvar and vdso: code and times that the kernel shows every process.
};

struct Region {
  std::uint64_t begin, end;
  Kind kind;
  std::uint32_t access;  // PROT_READ | …
  std::uint64_t file;    // Its place in the table, from here on:
  std::uint64_t offset;
  std::uint64_t advice;  // madvise(2)'s of huge pages; 0: none.
};

// Pages of a region that are not what its file, or nothing, would give.
struct Run {
  std::uint64_t begin, bytes;
  std::uint64_t at;      // In the snapshot.
  std::uint64_t region;  // Its place in the table.
};

// Views into the bytes of a snapshot.
struct Snapshot {
  const Header* header;
  std::string_view key, names;
  std::span<const File> files;
  std::span<const Region> regions;
  std::span<const Run> runs;

  std::string_view name(const File&) const;
};

// Looks at every number before it is used. invalid_argument if these are no snapshot's first
// bytes; `file_bytes` has the whole file. Pure.
Result<Snapshot> read(Bytes tables, std::uint64_t file_bytes);

}  // namespace dormouse::snapshot
