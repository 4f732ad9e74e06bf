// Tests only: the picture that testdata/resized.py draws, too.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <span>
#include <vector>

#include "runtimes/onnx/framing.h"

namespace dormouse::onnx {

class DrawnPicture {
 public:
  explicit DrawnPicture(Extent size) : size_(size) {
    for (std::uint32_t y = 0; y < size.height; ++y) {
      for (std::uint32_t x = 0; x < size.width; ++x) {
        for (const std::uint32_t channel : {2u, 1u, 0u}) {  // Of red, green, blue.
          pixels_.push_back(static_cast<std::uint8_t>(x * x * 7 + y * 59 + channel * 83));
        }
      }
    }
  }
  Picture picture() const { return {size_.width, size_.height, pixels_}; }

 private:
  Extent size_;
  std::vector<std::uint8_t> pixels_;
};

// `values` are blue, green, red.
inline void expect_near_rgb(std::span<const float> values, const std::vector<int>& rgb,
                            double distance) {
  ASSERT_EQ(values.size(), rgb.size());
  for (std::size_t i = 0; i < rgb.size(); ++i) {
    EXPECT_NEAR(values[i / 3 * 3 + 2 - i % 3], rgb[i], distance) << i;
  }
}

}  // namespace dormouse::onnx
