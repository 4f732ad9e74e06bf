// The two 16-bit floating-point formats: IEEE 754 binary16, and bfloat16 (the upper half of a
// binary32). Rounded to nearest, ties to even. Pure.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace dormouse::gateway {

inline float from_half(std::uint16_t half) {
  const std::uint32_t exponent = half >> 10 & 0x1F, fraction = half & 0x3FF;
  const float sign = (half & 0x8000) != 0 ? -1.0f : 1.0f;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(fraction), -24);
  if (exponent == 0x1F) return fraction == 0 ? sign * HUGE_VALF : std::nanf("");
  return sign * std::ldexp(static_cast<float>(fraction | 0x400), static_cast<int>(exponent) - 25);
}

inline std::uint16_t to_half(float value) {
  const auto sign = static_cast<std::uint16_t>(std::signbit(value) ? 0x8000 : 0);
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return sign | 0x7E00;
  if (magnitude >= 65520.0f) return sign | 0x7C00;  // What rounds above 65504 is infinite.
  if (magnitude < 0x1p-25f) return sign;            // Nearer to zero than to the smallest.
  int exponent = 0;
  std::frexp(magnitude, &exponent);
  const int step = std::max(exponent - 11, -24);  // The weight of the last bit, as a power of two.
  const auto units = static_cast<std::uint32_t>(std::nearbyint(std::ldexp(magnitude, -step)));
  if (step == -24) return sign | static_cast<std::uint16_t>(units);  // Subnormal, or the first.
  // `units` has its leading one at bit 10 (or is 0x800, one binade up): adding carries into it.
  return sign | static_cast<std::uint16_t>((static_cast<std::uint32_t>(step + 24) << 10) + units);
}

inline float from_bfloat(std::uint16_t half) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(half) << 16);
}

inline std::uint16_t to_bfloat(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (std::isnan(value)) return static_cast<std::uint16_t>(bits >> 16 | 0x40);
  return static_cast<std::uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

}  // namespace dormouse::gateway
