#include "base/money.h"

#include <string_view>

namespace dormouse {
namespace {

constexpr std::uint64_t pico_per_unit = 1'000'000'000'000;
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
  std::string out = negative ? "-" : "";
  out += std::to_string(magnitude / pico_per_unit);
  const std::uint64_t fraction = magnitude % pico_per_unit;
  if (fraction == 0) return out;
  const std::size_t point = out.size();
  out += std::to_string(pico_per_unit + fraction);  // Behind a digit too many.
  out[point] = '.';
  out.erase(out.find_last_not_of('0') + 1);
  return out;
}

}  // namespace dormouse
