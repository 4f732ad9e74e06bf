#include "runtimes/onnx/number_bytes.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/check.h"

namespace dormouse::onnx {
namespace {

static_assert(sizeof(_Float16) == 2);

std::uint8_t rounded(float value) {
  return static_cast<std::uint8_t>(
      std::isnan(value) ? 0 : std::clamp(std::nearbyint(value), 0.0f, 255.0f));
}

template <class To, class Convert>
std::vector<std::byte> converted(std::span<const float> values, Convert convert) {
  std::vector<std::byte> bytes(values.size() * sizeof(To));
  std::byte* at = bytes.data();
  for (const float value : values) {
    const To number = convert(value);
    std::memcpy(at, &number, sizeof number);
    at += sizeof number;
  }
  return bytes;
}

}  // namespace

bool takes_floats(wire::DataType type) {
  return type == wire::DataType::uint8 || gives_floats(type);
}

std::vector<std::byte> elements_of(std::span<const float> values, wire::DataType type) {
  CHECK(takes_floats(type));
  if (type == wire::DataType::uint8) return converted<std::uint8_t>(values, rounded);
  if (type == wire::DataType::fp16) {
    return converted<_Float16>(values, [](float value) { return static_cast<_Float16>(value); });
  }
  return converted<float>(values, [](float value) { return value; });
}

bool gives_floats(wire::DataType type) {
  return type == wire::DataType::fp32 || type == wire::DataType::fp16;
}

std::vector<float> floats_of(Bytes bytes, wire::DataType type) {
  CHECK(gives_floats(type));
  const std::size_t size = wire::element_size(type);
  std::vector<float> values(bytes.size() / size);
  if (type == wire::DataType::fp32) {
    std::memcpy(values.data(), bytes.data(), values.size() * size);
    return values;
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    _Float16 number{};
    std::memcpy(&number, bytes.data() + i * size, size);
    values[i] = static_cast<float>(number);
  }
  return values;
}

}  // namespace dormouse::onnx
