// Whole pages of this process's memory.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace dormouse::llm {

constexpr std::uintptr_t huge = std::uintptr_t{2} << 20;

inline std::uintptr_t page_bytes() {
  return static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
}

struct Pages {
  std::uintptr_t first = 0, end = 0;

  // Those that lie in [begin, begin + size) as a whole.
  static Pages inside(void* begin, std::size_t size, std::uintptr_t page) {
    const auto at = reinterpret_cast<std::uintptr_t>(begin);
    const std::uintptr_t first = (at + page - 1) & ~(page - 1);
    return {first, std::max(first, (at + size) & ~(page - 1))};
  }
  // Those that it lies in.
  static Pages around(void* begin, std::size_t size, std::uintptr_t page) {
    const auto at = reinterpret_cast<std::uintptr_t>(begin);
    return {at & ~(page - 1), (at + size + page - 1) & ~(page - 1)};
  }

  std::size_t size() const { return end - first; }
  char* begin() const { return reinterpret_cast<char*>(first); }
  bool advise(int advice) const { return size() == 0 || madvise(begin(), size(), advice) == 0; }
};

}  // namespace dormouse::llm
