// Money in pico-units: 10^-12 of whatever currency the rate card is in. 64 bits hold 9.2 million
// units. Sums and products are checked: what does not fit is an Error, never a wrapped number.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace dormouse {

struct PicoUnits {
  std::int64_t value = 0;
  friend auto operator<=>(const PicoUnits&, const PicoUnits&) = default;
};

Result<PicoUnits> add(PicoUnits, PicoUnits);              // exceeds 64 bits: too_large
Result<PicoUnits> times(PicoUnits, std::int64_t factor);  // exceeds 64 bits: too_large

// All twelve decimals, trailing zeros cut: "0.0000021". Exact.
std::string text(PicoUnits);

}  // namespace dormouse
