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

std::array<Limit, limit_kinds> limits_of_this();

// This process's own restartable sequence: its address and size, 0 if there is none.
struct Rseq {
  std::uint64_t at = 0, bytes = 0;
};
Rseq rseq_of_this();
inline constexpr std::uint64_t rseq_signature = 0x53053053;  // glibc's, on x86.

// "[vdso]", "[vvar]", "[vvar_vclock]".
bool is_kernels(std::string_view mapping);

// What tells a file from others, and from itself at another time. `name` is left alone.
void identify(const struct stat&, File&);

// What the processor has and the kernel lets this process use, as bits of XCR0. Those that it must
// be asked for, it is: unsupported if it refuses.
std::uint64_t features_of_this();
Result<> ask_for_features(std::uint64_t);

}  // namespace dormouse::snapshot
