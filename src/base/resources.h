// What the scheduler counts with, wherever it counts.
#pragma once

#include <cstdint>

namespace dormouse {

struct Resources {
  std::int64_t cpu_millicores = 0;
  std::int64_t memory_bytes = 0;
  std::int64_t accelerator_bytes = 0;  // Zero on nodes without one.

  friend bool operator==(const Resources&, const Resources&) = default;
  friend Resources operator+(Resources a, const Resources& b) {
    return {a.cpu_millicores + b.cpu_millicores, a.memory_bytes + b.memory_bytes,
            a.accelerator_bytes + b.accelerator_bytes};
  }
  friend Resources operator-(Resources a, const Resources& b) {
    return {a.cpu_millicores - b.cpu_millicores, a.memory_bytes - b.memory_bytes,
            a.accelerator_bytes - b.accelerator_bytes};
  }
};

}  // namespace dormouse
