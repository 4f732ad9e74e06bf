// How a picture of any size is brought to the size that a model wants. Pure.
#pragma once

#include <cstdint>

#include "runtimes/onnx/resample.h"

namespace dormouse::onnx {

struct Extent {
  std::uint32_t width = 0, height = 0;
  bool operator==(const Extent&) const = default;
};

inline Box whole(Extent picture) {
  return {0, 0, static_cast<double>(picture.width), static_cast<double>(picture.height)};
}

enum class Resize : std::uint8_t {
  stretch,  // All of it, in another shape if need be.
  crop,     // Its middle.
  pad,      // All of it in its own shape, and a border where that does not fill.
};

// Which part of the picture is taken, and which pixels of the target it becomes.
struct Framing {
  Box part;
  std::uint32_t left = 0, top = 0, width = 0, height = 0;
};

// With `crop`, the picture is thought of as scaled until target / crop_pct would just be covered,
// and the target is cut out of the middle: torchvision's Resize(256) and CenterCrop(224) are a
// crop_pct of 0.875. Sizes and offsets are rounded as there.
Framing frame(Extent picture, Extent target, Resize, double crop_pct);

}  // namespace dormouse::onnx
