// Makes a picture larger or smaller, as Pillow's resize() does it: each target pixel is a weighted
// mean of the pixels around its place. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace dormouse::onnx {

struct Picture {
  std::uint32_t width = 0, height = 0;
  std::span<const std::uint8_t> pixels;  // Blue, green, red; rows without padding.
};

enum class Filter : std::uint8_t { bilinear, bicubic };

// The part of a picture that is taken, within it, in its pixels. Edges may lie between two.
struct Box {
  double left = 0, top = 0, right = 0, bottom = 0;
};

struct Resampling {
  Box part;
  std::size_t width = 0, height = 0;  // What it becomes: at least 1 × 1.
  Filter filter = Filter::bilinear;
  // When shrinking, every pixel counts; otherwise only the nearest ones, as in OpenCV.
  bool antialias = true;
};

// Blue, green, red, from 0 to 255; rows without padding.
std::vector<float> resample(const Picture&, const Resampling&);

}  // namespace dormouse::onnx
