// A body in a memfd, as memory. Unmapped with the last pointer to it.
#pragma once

#include <cstdint>
#include <memory>

#include "base/result.h"

namespace dormouse::wire {

// The first `size` bytes, at least one. `protection` as for mmap(2): what is only read is private.
Result<std::shared_ptr<void>> map(int descriptor, std::uint64_t size, int protection);

}  // namespace dormouse::wire
