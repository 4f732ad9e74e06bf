// What the kernel knows of this process beside its memory.
#pragma once

#include <linux/prctl.h>
#include <sys/stat.h>

#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"
#include "runtimes/snapshot/format.h"

namespace dormouse::snapshot {

// One thread, and no open descriptor but standard ones and these; unsupported, with what there is.
Result<> is_alone(std::span<const int> descriptors);

// All but the registers. unsupported if the kernel does not tell.
Result<Thread> thread_of_this();

prctl_mm_map map_of(const Addresses&);  // For PR_SET_MM_MAP: all but the program itself.

// This process's own restartable sequence: its address and size, 0 if there is none.
struct Rseq {
  std::uint64_t at = 0, bytes = 0;
};
Rseq rseq_of_this();
inline constexpr std::uint64_t rseq_signature = 0x53053053;  // glibc's, on x86.

// "[vdso]", "[vvar]", "[vvar_vclock]".
bool is_kernels(std::string_view mapping);

inline std::int64_t modified_ns(const struct stat& status) {
  constexpr std::int64_t second = 1'000'000'000;
  return status.st_mtim.tv_sec * second + status.st_mtim.tv_nsec;
}

}  // namespace dormouse::snapshot
