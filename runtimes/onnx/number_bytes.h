// Floats as the bytes of a tensor of another type, and back. Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "wire/tensors.h"

namespace dormouse::onnx {

// Whether a tensor of this type can be made of floats: FP32, FP16, and UINT8, which is rounded and
// keeps to 0 to 255.
bool takes_floats(wire::DataType);
std::vector<std::byte> elements_of(std::span<const float>, wire::DataType);

// Whether floats can be made of it: FP32, FP16.
bool gives_floats(wire::DataType);
std::vector<float> floats_of(Bytes, wire::DataType);

}  // namespace dormouse::onnx
