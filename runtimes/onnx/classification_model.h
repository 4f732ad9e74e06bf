// Whether a model takes pictures and tells classes apart, by its inputs and outputs. Pure.
//
// Errors  invalid_argument names the option that does not fit the model, or what of the model the
//         task cannot take.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "base/result.h"
#include "runtimes/onnx/classification_options.h"
#include "wire/tensors.h"

namespace dormouse::onnx {

// The form of picture that the model takes: one input that takes floats (number_bytes.h), of
// [1, C, H, W] or [1, H, W, C] with 1 or 3 channels. Where its shape is left open it is three
// channels, first; then options say the size.
Result<TensorForm> picture_form(const wire::Signature&, const Classification&);

// Which of the outputs has the classes: one that gives floats, and a list as far as its shape
// tells.
Result<std::size_t> class_output(const wire::Signature&, const Classification&);

// How many classes an answer of this shape is: all of its dimensions are 1 but one. nullopt if it
// is no list of them, or does not tell, with a dimension of -1.
std::optional<std::size_t> classes_of(std::span<const std::int64_t> shape);

}  // namespace dormouse::onnx
