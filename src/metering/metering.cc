#include "metering/metering.h"

#include <algorithm>
#include <limits>

namespace dormouse::metering {
namespace {

std::int64_t whole_ms(Duration used) {
  const std::int64_t us = std::max<std::int64_t>(used.count(), 0);
  return us / 1000 + (us % 1000 != 0);
}

// ms × MiB is exact in 64 bits or an error, and its product with a price exact in 128.
Result<PicoUnits> price_of_holding(std::int64_t ms, std::int64_t mib, PicoUnits per_gib_second) {
  constexpr std::int64_t mib_ms_per_gib_second = 1024 * 1000;
  const auto mib_ms = times(PicoUnits{ms}, mib);
  if (!mib_ms) return mib_ms.error();
  __extension__ using Wide = __int128;
  const Wide price = Wide{mib_ms->value} * per_gib_second.value / mib_ms_per_gib_second;
  if (price > std::numeric_limits<std::int64_t>::max()) {
    return Error{Code::too_large, "a price exceeds 64 bits"};
  }
  return PicoUnits{static_cast<std::int64_t>(price)};
}

}  // namespace

std::int64_t billed_ms(const Use& use, const RateCard& card) {
  return whole_ms(use.run) + (card.bills_waking ? whole_ms(use.wake) : 0);
}

std::int64_t billed_mib(std::uint64_t declared_memory_bytes) {
  constexpr std::uint64_t mib = 1 << 20;
  return static_cast<std::int64_t>(declared_memory_bytes / mib +
                                   (declared_memory_bytes % mib != 0));
}

Result<PicoUnits> charge(const Use& use, Blame blame, bool answered, const RateCard& card) {
  if (!answered && blame == Blame::platform) return PicoUnits{};
  auto charged = price_of_holding(billed_ms(use, card), billed_mib(use.declared_memory_bytes),
                                  card.per_gib_second);
  if (charged) charged = add(*charged, card.per_call);
  if (!charged) return std::move(charged).error().during("charging an attempt");
  return charged;
}

}  // namespace dormouse::metering
