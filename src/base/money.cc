#include "base/money.h"

#include <string_view>

namespace dormouse {
namespace {

constexpr std::uint64_t pico_per_unit = 1'000'000'000'000;
constexpr std::size_t decimals = 12;
const Error out_of_range{Code::too_large, "an amount of money exceeds 9.2 million units"};

}  // namespace

Result<PicoUnits> add(PicoUnits a, PicoUnits b) {
  PicoUnits sum;
  if (__builtin_add_overflow(a.value, b.value, &sum.value)) return out_of_range;
  return sum;
}

Result<PicoUnits> times(PicoUnits amount, std::int64_t factor) {
  PicoUnits product;
  if (__builtin_mul_overflow(amount.value, factor, &product.value)) return out_of_range;
  return product;
}

std::string text(PicoUnits amount) {
  const bool negative = amount.value < 0;
  const auto raw = static_cast<std::uint64_t>(amount.value);
  const std::uint64_t magnitude = negative ? ~raw + 1 : raw;
  std::string fraction = std::to_string(magnitude % pico_per_unit);
  fraction.insert(0, decimals - fraction.size(), '0');
  fraction.erase(fraction.find_last_not_of('0') + 1);
  std::string out = (negative ? "-" : "") + std::to_string(magnitude / pico_per_unit);
  return fraction.empty() ? out : out + "." + fraction;
}

}  // namespace dormouse
