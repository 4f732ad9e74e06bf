// Any bytes are a picture within the limits or none, and a picture becomes a tensor, however it is
// framed.
#include <cstdlib>

#include "base/check.h"
#include "runtimes/onnx/picture_tensor.h"
#include "runtimes/onnx/pictures/pictures.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace dormouse;
  constexpr std::uint32_t side_max = 2000, pixels_max = 200'000;
  dormouse_picture out{};
  if (dormouse_decode_picture(bytes, size, side_max, pixels_max, &out) !=
      dormouse_picture_decoded) {
    CHECK(out.pixels == nullptr);
    return 0;
  }
  CHECK(out.width <= side_max && out.height <= side_max);
  const std::size_t count = std::size_t{out.width} * out.height;
  CHECK(count > 0 && count <= pixels_max);
  const onnx::TensorForm form{.size = {16, 12}};
  for (const auto resize : {onnx::Resize::stretch, onnx::Resize::crop, onnx::Resize::pad}) {
    const auto framing = onnx::frame({out.width, out.height}, form.size, resize, 0.875);
    const auto values = onnx::picture_tensor({out.width, out.height, {out.pixels, 3 * count}},
                                             framing, {.filter = onnx::Filter::bicubic}, form);
    CHECK(values.size() == std::size_t{3} * 16 * 12);
  }
  std::free(out.pixels);
  return 0;
}
