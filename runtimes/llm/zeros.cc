#include "runtimes/llm/zeros.h"

#include <sys/mman.h>

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

namespace dormouse::llm {
namespace {

// What a sanitizer keeps its books in is among that memory.
constexpr bool sanitized = __has_feature(address_sanitizer);
constexpr std::uintptr_t huge = std::uintptr_t{2} << 20;

struct Range {
  std::uintptr_t begin, end;
};

std::vector<Range> private_memory() {
  std::vector<Range> ranges;
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> maps(std::fopen("/proc/self/maps", "re"),
                                                             std::fclose);
  char line[512], access[8];
  for (Range range{}; maps && std::fgets(line, sizeof line, maps.get()) != nullptr;) {
    std::uint64_t inode = 0;
    const int fields = std::sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %7s %*x %*s %" SCNu64,
                                   &range.begin, &range.end, access, &inode);
    if (fields == 4 && inode == 0 && std::strcmp(access, "rw-p") == 0) ranges.push_back(range);
  }
  return ranges;
}

bool is_zero(const char* page) {
  return page[0] == 0 && std::memcmp(page, page + 1, huge - 1) == 0;
}

}  // namespace

std::size_t give_back_zeros() {
  if (sanitized) return 0;
  std::size_t bytes = 0;
  for (const Range& range : private_memory()) {
    for (auto at = (range.begin + huge - 1) & ~(huge - 1); at + huge <= range.end; at += huge) {
      auto* const page = reinterpret_cast<char*>(at);
      if (is_zero(page) && madvise(page, huge, MADV_DONTNEED) == 0) bytes += huge;
    }
  }
  return bytes;
}

}  // namespace dormouse::llm
