#include "metering/metering.h"

#include <algorithm>

namespace dormouse::metering {
namespace {

std::int64_t whole_ms(Duration used) {
  const std::int64_t us = std::max<std::int64_t>(used.count(), 0);
  return us / 1000 + (us % 1000 != 0);
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
  auto held = times(card.per_mib_ms, billed_ms(use, card));
  if (held) held = times(*held, billed_mib(use.declared_memory_bytes));
  if (held) held = add(*held, card.per_call);
  if (!held) return std::move(held).error().during("charging an attempt");
  return held;
}

}  // namespace dormouse::metering
