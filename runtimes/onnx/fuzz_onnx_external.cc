// Any bytes have a list of external tensors or are an Error; the list is no larger than the bytes.
#include "base/check.h"
#include "runtimes/onnx/external_data.h"
#include "runtimes/onnx/weights.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace dormouse;
  const auto found = onnx::external_tensors(std::as_bytes(std::span(bytes, size)));
  if (!found) return 0;
  CHECK(found->size() <= size);
  for (const onnx::ExternalTensor& tensor : *found) {
    CHECK(tensor.location.size() + tensor.name.size() <= size && tensor.shape.size() <= 64);
    CHECK(tensor.packed.size() <= size);
  }
  const auto places = onnx::layout(*found);
  CHECK(!places || places->size() == found->size());
  return 0;
}
