#include "wire/mapping.h"

#include <sys/mman.h>

namespace dormouse::wire {

Result<std::shared_ptr<void>> map(int descriptor, std::uint64_t size, int protection) {
  // What others may not write to any more can only be mapped so, before Linux 6.7.
  const int sharing = (protection & PROT_WRITE) != 0 ? MAP_SHARED : MAP_PRIVATE;
  void* const address = mmap(nullptr, size, protection, sharing, descriptor, 0);
  if (address == MAP_FAILED) return system_error(Code::function_failed, "mapping a body");
  return std::shared_ptr<void>(address, [size](void* at) { munmap(at, size); });
}

}  // namespace dormouse::wire
