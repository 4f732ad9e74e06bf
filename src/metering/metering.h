// From what an attempt used to what it costs. Pure, exact integers, no floating point.
//
//   billed_ms = ceil(run, 1 ms), plus ceil(wake) if the rate card bills waking
//   charge    = per_call + billed_ms × ceil(declared MiB) × per_gib_second / 1,024,000
//
// rounded down to the pico-unit.
//
// Blame decides who pays: an attempt that ended by the platform's fault costs nothing.
#pragma once

#include <cstdint>

#include "base/money.h"
#include "base/result.h"
#include "base/time.h"

namespace dormouse::metering {

// In pico-units (10⁻¹²) of a currency that only the operator knows. The defaults are AWS Lambda's
// published x86 prices in US dollars: 0.0000166667 per GB-second, 0.20 per million calls.
struct RateCard {
  PicoUnits per_call{200'000};
  PicoUnits per_gib_second{16'666'700};
  bool bills_waking = false;
};

struct Use {
  Duration run{};
  Duration wake{};
  std::uint64_t declared_memory_bytes = 0;
};

std::int64_t billed_ms(const Use&, const RateCard&);

// What a receipt's memory is billed as: whole MiB, rounded up.
std::int64_t billed_mib(std::uint64_t declared_memory_bytes);

// too_large if it does not fit in 64 bits.
Result<PicoUnits> charge(const Use&, Blame, bool answered, const RateCard&);

}  // namespace dormouse::metering
