// From a decoded picture to the tensor that a model takes: resized, in the model's order of colours
// and of dimensions, and normalised. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "runtimes/onnx/framing.h"
#include "runtimes/onnx/resample.h"

namespace dormouse::onnx {

enum class Colours : std::uint8_t { grey, rgb, bgr };
enum class Layout : std::uint8_t { nchw, nhwc };

inline std::size_t channels_of(Colours colours) {
  return colours == Colours::grey ? 1 : 3;
}

// A pixel's value, from 0 to 255, becomes (value × scale - mean) / deviation; by channel, in the
// order of `colours`.
struct TensorForm {
  Extent size;
  Layout layout = Layout::nchw;
  Colours colours = Colours::rgb;
  float scale = 1.0f / 255;
  std::array<float, 3> mean = {0, 0, 0};
  std::array<float, 3> deviation = {1, 1, 1};
  float border = 0;  // The pixel value where a picture does not fill its tensor.
};

struct Sampling {
  Filter filter = Filter::bilinear;
  bool antialias = true;
};

// [1, channels, height, width], or [1, height, width, channels].
std::vector<std::int64_t> shape_of(const TensorForm&);
std::vector<float> picture_tensor(const Picture&, const Framing&, Sampling, const TensorForm&);

}  // namespace dormouse::onnx
