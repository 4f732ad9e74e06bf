// What is declared of the task `image-classification`. Pure.
//
// Options  "labels"         a file, one label a line; without it a label is its class's index
//          "size"           "224" or "320x240" (width × height), for models that take any
//          "resize"         "stretch", "crop" or "pad" ("stretch")
//          "crop_pct"       how much of the scaled picture a crop keeps ("0.875")
//          "interpolation"  "bilinear" or "bicubic" ("bilinear")
//          "channel_order"  "rgb" or "bgr" ("rgb"), for models of three channels
//          "scale"          what a pixel's value, 0 to 255, is multiplied by ("1/255", or "1" for a
//                           model of whole numbers)
//          "mean", "std"    then (value - mean) / std ("0", "1"): one number, or one for each
//          channel "output"         the output with the classes, for models with several
//          "activation"     "softmax", "sigmoid" or "none"; without it softmax, unless the model
//                           gives probabilities
//          "top_k"          how many labels are told ("5")
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "runtimes/onnx/picture_tensor.h"
#include "runtimes/onnx/top_labels.h"
#include "wire/messages.h"

namespace dormouse::onnx {

inline constexpr std::uint32_t tensor_side_max = 4096;  // Of a picture that a model takes.

struct Classification {
  std::string labels;  // A file; "": none.
  std::optional<Extent> size;
  Resize resize = Resize::stretch;
  double crop_pct = 0.875;
  Filter interpolation = Filter::bilinear;
  std::optional<Colours> channel_order;
  std::optional<float> scale;
  std::vector<float> mean = {0}, deviation = {1};  // One, or one for each channel.
  std::string output;
  std::optional<Activation> activation;
  std::size_t top_k = 5;
};

// `options` are the task's own, without "task." before them. invalid_argument names the option,
// what was given, and what is allowed; one that is unknown is refused, too.
Result<Classification> read_classification(const wire::Options& options);

}  // namespace dormouse::onnx
