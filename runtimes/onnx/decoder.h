// The shared object with the picture codecs, loaded when the first picture task is.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "runtimes/onnx/resample.h"

namespace dormouse::onnx {

struct Free {
  void operator()(std::uint8_t* bytes) const { std::free(bytes); }
};

// Kept where they were decoded: a large picture is most of what a small instance may hold.
struct Pixels {
  std::uint32_t width = 0, height = 0;
  std::unique_ptr<std::uint8_t, Free> values;  // As a Picture's.

  Picture picture() const {
    return {width, height, {values.get(), std::size_t{3} * width * height}};
  }
};

inline constexpr std::uint32_t picture_side_max = 16'384;
inline constexpr std::uint64_t picture_pixels_max = 16'000'000;

class Decoder {
 public:
  static Result<std::unique_ptr<Decoder>> open();
  virtual ~Decoder() = default;

  // unsupported if it is none of PNG, JPEG, WebP, whatever its content type says, or an
  // animated WebP, or a JPEG in CMYK; too_large beyond the maxima above; invalid_argument if it is
  // damaged.
  virtual Result<Pixels> decode(Bytes picture) = 0;
};

// Whether this content type is one of the three.
bool is_picture(std::string_view content_type);

}  // namespace dormouse::onnx
