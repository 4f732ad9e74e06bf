// The shared object with the picture codecs, loaded when the first picture task is.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace dormouse::onnx {

struct Pixels {
  std::uint32_t width = 0, height = 0;
  std::vector<std::uint8_t> values;  // Blue, green, red.
};

inline constexpr std::uint32_t picture_side_max = 16'384;
inline constexpr std::uint64_t picture_pixels_max = 16'000'000;

class Decoder {
 public:
  static Result<std::unique_ptr<Decoder>> open();
  virtual ~Decoder() = default;

  // unsupported if it is none of PNG, JPEG, WebP, whatever its content type says; too_large beyond
  // the maxima above; invalid_argument if it is damaged.
  virtual Result<Pixels> decode(Bytes picture) = 0;
};

// Whether this content type is one of the three.
bool is_picture(std::string_view content_type);

}  // namespace dormouse::onnx
