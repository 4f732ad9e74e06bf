// Any bytes are a sound GGUF header or an Error; what it says of itself fits the bytes.
#include "base/check.h"
#include "runtimes/llm/gguf_header.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace dormouse;
  const auto header = llm::check_gguf(std::as_bytes(std::span(bytes, size)));
  if (!header) {
    CHECK(header.error().message.size() < 512);
    return 0;
  }
  // A key has at least its length and its type, a tensor its length, type and place.
  CHECK(header->keys * 12 <= size && header->tensors * 24 <= size);
  CHECK(header->architecture.size() <= size);
  return 0;
}
