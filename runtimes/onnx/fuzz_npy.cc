// Any bytes are an npy file or an Error; what is read lies within the bytes, and is written the
// same again.
#include "base/check.h"
#include "runtimes/onnx/npy.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace dormouse;
  const Bytes input = std::as_bytes(std::span(bytes, size));
  const auto npy = onnx::parse_npy(input);
  if (!npy) return 0;
  CHECK(npy->offset <= size);
  const auto count = wire::element_count(npy->spec.shape);
  CHECK(count && *count * wire::element_size(npy->spec.type) == size - npy->offset);
  auto file = onnx::npy_header(npy->spec);
  CHECK(file);
  *file += as_text(input.subspan(npy->offset));
  const auto again = onnx::parse_npy(as_bytes(*file));
  CHECK(again && again->spec == npy->spec);
  return 0;
}
