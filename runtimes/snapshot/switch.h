// Where one process's memory becomes another's: code that uses nothing but registers and a stack
// that it is given, as everything else is taken away while it runs. x86-64 only.
#pragma once

#include <linux/prctl.h>

#include <cstddef>
#include <cstdint>

#include "runtimes/snapshot/format.h"

namespace dormouse::snapshot {

// As setjmp(3): keeps where the caller is, and gives nullptr; once more, of a process that was
// woken, with what resume() was given.
extern "C" [[gnu::returns_twice]] void* dormouse_snapshot_mark(Registers*);

// One system call, and what it must give: exactly `expected`, no error, or anything.
struct Step {
  enum class Must : std::uint64_t { be_expected, succeed, nothing };
  std::uint64_t number;
  std::uint64_t arguments[6];
  Must must;
  std::uint64_t expected;
};

// Everything that the code needs, in memory of its own.
struct Script {
  const Step* steps;
  std::uint64_t count;
  const char* failure;  // Written to stderr if a step fails: then the process exits with 113.
  std::uint64_t failure_bytes;
  void* woken;            // What dormouse_snapshot_mark() gives where it ends,
  Thread thread;          // which is in its registers.
  std::uint64_t signals;  // A set of all.
  prctl_mm_map addresses;
};

// The memory that a script lies in with its code and stack, and that is the woken process's to give
// back.
inline constexpr std::size_t script_bytes = std::size_t{4} << 20;

// The code, to be copied to where it can stay, and called there: with the Script, and the end of a
// stack. It does not return.
const void* switch_code();
std::size_t switch_code_bytes();

}  // namespace dormouse::snapshot
