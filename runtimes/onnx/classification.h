// The task `image-classification`, as it is declared: what its options say, and whether a model
// takes pictures and tells classes apart. Pure.
//
// Options  "labels"         a file, one label a line; without it a label is its class's index
//          "size"           "224" or "320x240" (width × height), for models that take any
//          "resize"         "stretch", "crop" or "pad" ("stretch")
//          "crop_pct"       how much of the scaled picture a crop keeps ("0.875")
//          "interpolation"  "bilinear" or "bicubic" ("bilinear")
//          "channel_order"  "rgb" or "bgr" ("rgb"), for models of three channels
//          "scale", "mean", "std"  (value × scale - mean) / std ("1/255", "0", "1"); mean and std
//          are
//                           one number, or one for each channel
//          "output"         the output with the classes, for models with several
//          "activation"     "softmax", "sigmoid" or "none"; without it: softmax, unless the model
//          gives
//                           probabilities
//          "top_k"          how many labels are told ("5")
// Errors   invalid_argument names the option, what was given, and what is allowed.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "runtimes/onnx/picture_tensor.h"
#include "runtimes/onnx/top_labels.h"
#include "wire/messages.h"
#include "wire/tensors.h"

namespace dormouse::onnx {

inline constexpr std::uint32_t tensor_side_max = 4096;  // Of a picture that a model takes.

struct Classification {
  std::string labels;  // A file; "": none.
  std::optional<Extent> size;
  Resize resize = Resize::stretch;
  double crop_pct = 0.875;
  Filter interpolation = Filter::bilinear;
  std::optional<Colours> channel_order;
  float scale = 1.0f / 255;
  std::vector<float> mean = {0}, deviation = {1};  // One, or one for each channel.
  std::string output;
  std::optional<Activation> activation;
  std::size_t top_k = 5;
};

// `options` are the task's own, without "task." before them; each must be known.
Result<Classification> read_classification(const wire::Options& options);

// The form of picture that the model takes: one input, FP32, [1, C, H, W] or [1, H, W, C] with 1 or
// 3 channels. Where the model leaves that open, it is three channels, first; the size must be said
// then.
Result<TensorForm> picture_form(const wire::Signature&, const Classification&);

// Which of the outputs has the classes: FP32, and a list as far as its shape tells.
Result<std::size_t> class_output(const wire::Signature&, const Classification&);

// How many classes an answer of this shape is: all dimensions are 1 but one; nullopt if it is no
// list of them, or, with a dimension of -1, does not tell.
std::optional<std::size_t> classes_of(std::span<const std::int64_t> shape);

}  // namespace dormouse::onnx
