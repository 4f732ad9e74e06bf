// A tensor's type and shape, as errors tell of them. Pure.
#pragma once

#include <string>

#include "wire/tensors.h"

namespace dormouse::onnx {

// "FP32 [1,3,224,-1]"
inline std::string describe(const wire::TensorSpec& spec) {
  std::string text(wire::name(spec.type));
  text += " [";
  for (const std::int64_t dimension : spec.shape) {
    if (text.back() != '[') text += ",";
    text += std::to_string(dimension);
  }
  return text + "]";
}

}  // namespace dormouse::onnx
