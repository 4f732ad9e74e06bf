#include "runtimes/onnx/framing.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace dormouse::onnx {
namespace {

// The middle of a scaled axis that becomes the target's, in the picture's own pixels.
struct Cut {
  double begin = 0, end = 0;
};

Cut cut(std::uint32_t size, double scaled, std::uint32_t target) {
  const double offset = std::nearbyint((scaled - target) / 2);  // Halves to even, as in Python.
  const double scale = size / scaled;
  return {offset * scale, (offset + target) * scale};
}

Framing crop(Extent picture, Extent target, double crop_pct) {
  const double width = std::floor(target.width / crop_pct);
  const double height = std::floor(target.height / crop_pct);
  const bool by_width = width * picture.height >= height * picture.width;
  const double scaled_width =
      by_width ? width : std::floor(height * picture.width / picture.height);
  const double scaled_height =
      by_width ? std::floor(width * picture.height / picture.width) : height;
  const Cut x = cut(picture.width, std::max(scaled_width, width), target.width);
  const Cut y = cut(picture.height, std::max(scaled_height, height), target.height);
  return {{x.begin, y.begin, x.end, y.end}, 0, 0, target.width, target.height};
}

std::uint32_t scaled(std::uint32_t size, double factor, std::uint32_t most) {
  return static_cast<std::uint32_t>(std::clamp<double>(std::nearbyint(size * factor), 1, most));
}

Framing pad(Extent picture, Extent target) {
  const double factor = std::min(static_cast<double>(target.width) / picture.width,
                                 static_cast<double>(target.height) / picture.height);
  const std::uint32_t width = scaled(picture.width, factor, target.width);
  const std::uint32_t height = scaled(picture.height, factor, target.height);
  return {whole(picture), (target.width - width) / 2, (target.height - height) / 2, width, height};
}

}  // namespace

Framing frame(Extent picture, Extent target, Resize resize, double crop_pct) {
  switch (resize) {
    case Resize::stretch: return {whole(picture), 0, 0, target.width, target.height};
    case Resize::crop: return crop(picture, target, crop_pct);
    case Resize::pad: return pad(picture, target);
  }
  CHECK_UNREACHABLE("every Resize has its way");
}

}  // namespace dormouse::onnx
