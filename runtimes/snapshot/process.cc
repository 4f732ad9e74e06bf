#include "runtimes/snapshot/process.h"

#include <linux/prctl.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace dormouse::snapshot {
namespace {

// Of <asm/prctl.h>.
constexpr long arch_get_fs = 0x1003, arch_get_xcomp_perm = 0x1022, arch_req_xcomp_perm = 0x1023;

std::uint64_t address(const void* pointer) {
  return reinterpret_cast<std::uint64_t>(pointer);
}

// A descriptor of a folder that lists itself is among its entries, and closed when it is looked at.
Result<> check_descriptors(std::span<const int> expected) {
  std::error_code failure;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", failure)) {
    const std::string name = entry.path().filename();
    int number = -1;
    std::from_chars(name.data(), name.data() + name.size(), number);
    if (number <= STDERR_FILENO || std::ranges::find(expected, number) != expected.end()) continue;
    const auto target = std::filesystem::read_symlink(entry.path(), failure).string();
    if (failure || (target.starts_with("/proc/") && target.ends_with("/fd"))) continue;
    return Error{Code::unsupported, "it has " + target + " open"};
  }
  if (failure) return Error{Code::unsupported, "listing /proc/self/fd: " + failure.message()};
  return ok;
}

// Fields of proc(5)'s stat, by their numbers there; the second has a name, in parentheses.
Result<Addresses> addresses_of_this() {
  std::ifstream file("/proc/self/stat");
  std::string text;
  std::getline(file, text);
  std::istringstream fields(text.substr(std::min(text.rfind(')') + 1, text.size())));
  std::array<std::uint64_t, 52> values{};
  std::string word;
  for (std::size_t i = 3; i < values.size() && fields >> word; ++i) {
    std::from_chars(word.data(), word.data() + word.size(), values[i]);
  }
  const Addresses it{.start_code = values[26],
                     .end_code = values[27],
                     .start_data = values[45],
                     .end_data = values[46],
                     .start_brk = values[47],
                     .brk = address(sbrk(0)),
                     .start_stack = values[28],
                     .arg_start = values[48],
                     .arg_end = values[49],
                     .env_start = values[50],
                     .env_end = values[51]};
  const prctl_mm_map same = map_of(it);
  if (prctl(PR_SET_MM, PR_SET_MM_MAP, &same, sizeof same, 0) == 0) return it;
  return system_error(Code::unsupported, "telling the kernel where the heap ends");
}

}  // namespace

prctl_mm_map map_of(const Addresses& it) {
  return {.start_code = it.start_code,
          .end_code = it.end_code,
          .start_data = it.start_data,
          .end_data = it.end_data,
          .start_brk = it.start_brk,
          .brk = it.brk,
          .start_stack = it.start_stack,
          .arg_start = it.arg_start,
          .arg_end = it.arg_end,
          .env_start = it.env_start,
          .env_end = it.env_end,
          .auxv = nullptr,
          .auxv_size = 0,
          .exe_fd = ~std::uint32_t{0}};
}

Result<> is_alone(std::span<const int> descriptors) {
  std::error_code failure;
  const auto threads =
      std::distance(std::filesystem::directory_iterator("/proc/self/task", failure),
                    std::filesystem::directory_iterator());
  if (failure) return Error{Code::unsupported, "listing /proc/self/task: " + failure.message()};
  if (threads != 1) {
    return Error{Code::unsupported, "it has " + std::to_string(threads) + " threads"};
  }
  return check_descriptors(descriptors);
}

std::array<Limit, limit_kinds> limits_of_this() {
  std::array<Limit, limit_kinds> all{};
  for (std::size_t kind = 0; kind < all.size(); ++kind) {
    (void)syscall(SYS_prlimit64, 0, kind, nullptr, &all[kind]);
  }
  return all;
}

Rseq rseq_of_this() {
  if (__rseq_size == 0) return {};
  const auto* thread = static_cast<const char*>(__builtin_thread_pointer());
  // What was registered has at least what the kernel had at first.
  return {address(thread + __rseq_offset), std::max<std::uint64_t>(__rseq_size, 32)};
}

Result<Thread> thread_of_this() {
  const auto addresses = addresses_of_this();
  if (!addresses) return addresses.error();
  Thread it{};
  it.addresses = *addresses;
  it.features = features_of_this();
  it.file_mask = umask(0);
  umask(static_cast<mode_t>(it.file_mask));
  it.limits = limits_of_this();
  const Rseq rseq = rseq_of_this();
  it.rseq = rseq.at;
  it.rseq_bytes = rseq.bytes;
  std::size_t bytes = 0;
  bool told =
      syscall(SYS_arch_prctl, arch_get_fs, &it.thread_pointer) == 0 &&
      prctl(PR_GET_TID_ADDRESS, &it.id_address) == 0 &&
      syscall(SYS_get_robust_list, 0, &it.robust_list, &bytes) == 0 &&
      syscall(SYS_rt_sigprocmask, 0, nullptr, &it.signal_mask, sizeof it.signal_mask) == 0 &&
      syscall(SYS_sigaltstack, nullptr, &it.signal_stack) == 0;
  for (int signal = 1; signal <= signals && told; ++signal) {
    told = syscall(SYS_rt_sigaction, signal, nullptr,
                   &it.signal_actions[static_cast<std::size_t>(signal - 1)],
                   sizeof it.signal_mask) == 0;
  }
  if (!told) return system_error(Code::unsupported, "asking the kernel about the thread");
  return it;
}

std::uint64_t features_of_this() {
  std::uint64_t features = 0;  // An older kernel knows of none.
  (void)syscall(SYS_arch_prctl, arch_get_xcomp_perm, &features);
  return features;
}

Result<> ask_for_features(std::uint64_t wanted) {
  for (unsigned bit = 0; bit < 64; ++bit) {
    const std::uint64_t feature = std::uint64_t{1} << bit;
    if ((wanted & feature) == 0 || (features_of_this() & feature) != 0) continue;
    if (syscall(SYS_arch_prctl, arch_req_xcomp_perm, bit) == 0) continue;
    return system_error(Code::unsupported, "asking for a feature of the processor");
  }
  return ok;
}

void identify(const struct stat& status, File& file) {
  constexpr std::int64_t second = 1'000'000'000;
  file.bytes = static_cast<std::uint64_t>(status.st_size);
  file.inode = status.st_ino;
  file.modified_ns = status.st_mtim.tv_sec * second + status.st_mtim.tv_nsec;
  file.changed_ns = status.st_ctim.tv_sec * second + status.st_ctim.tv_nsec;
}

bool is_kernels(std::string_view mapping) {
  return mapping == "[vdso]" || mapping.starts_with("[vvar");
}

}  // namespace dormouse::snapshot
