#include "scheduling/reclaim.h"

#include <algorithm>

namespace dormouse::scheduling {

double saving_per_byte(const Holding& holding) {
  const auto wake = static_cast<double>(std::max<std::int64_t>(1, holding.wake.count()));
  const auto idle = static_cast<double>(std::max<std::int64_t>(1, holding.idle.count()));
  const auto bytes = static_cast<double>(std::max<std::int64_t>(1, holding.bytes));
  return wake / (idle * bytes);
}

}  // namespace dormouse::scheduling
