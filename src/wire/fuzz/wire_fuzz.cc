// Bytes from a hostile peer, at both ends of the wire. The first byte chooses what they are read
// as; what is understood must survive being written and read again.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/check.h"
#include "wire/messages.h"

namespace dormouse::wire {
namespace {

// decode ∘ encode is the identity on what decode gives.
template <class Decode>
void round_trip(std::string_view text, Decode decode) {
  const auto first = decode(text);
  if (!first) return;
  const std::string written = encode(*first);
  const auto second = decode(written);
  CHECK(second);
  CHECK(encode(*second) == written);
}

void read_items(std::string_view text) {
  const auto items = decode_items(text);
  if (!items) return;
  for (const Item& item : *items) {
    if (!item.has_body_memfd) CHECK(item.inline_body.size() == item.body_size);
    const auto valid = validate(item.content.tensors, item.body_size);
    if (!valid) continue;
    for (const Tensor& tensor : item.content.tensors) {
      CHECK(tensor.offset + tensor.size <= item.body_size);
    }
  }
  const std::string written = encode(std::span<const Item>(*items));
  CHECK(decode_items(written));
}

void read_frames(std::string_view text) {
  while (text.size() >= header_size) {
    const auto header = parse_header(text.substr(0, header_size));
    if (!header) return;
    text.remove_prefix(header_size);
    const std::string_view payload = text.substr(0, header->length);
    text.remove_prefix(payload.size());
    std::string written;
    append_frame(written, header->type, header->flags, header->handle, payload,
                 header->descriptors);
    CHECK(written.size() == header_size + payload.size());
    const auto again = parse_header(std::string_view(written).substr(0, header_size));
    CHECK(again && again->flags == header->flags && again->descriptors == header->descriptors);
  }
}

void read_as(std::uint8_t what, std::string_view text) {
  switch (what % 16) {
    case 0: return read_frames(text);
    case 1: return round_trip(text, decode_hello);
    case 2: return round_trip(text, decode_load);
    case 3: return round_trip(text, decode_prepared);
    case 4: return round_trip(text, decode_ready);
    case 5: return read_items(text);
    case 6: return round_trip(text, decode_answer);
    case 7: return round_trip(text, decode_failure);
    case 8: return round_trip(text, decode_signature);
    case 10: return round_trip(text, decode_call);
    case 11: return round_trip(text, decode_call_answer);
    case 12: return round_trip(text, decode_stats);
    case 13: return round_trip(text, decode_keep);
    case 14: return round_trip(text, decode_state);
    case 9: return static_cast<void>(decode_ask_room(text));
    default: static_cast<void>(decode_credit(text));
  }
}

}  // namespace
}  // namespace dormouse::wire

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  if (size == 0) return 0;
  const dormouse::Bytes all(reinterpret_cast<const std::byte*>(bytes), size);
  dormouse::wire::read_as(bytes[0], dormouse::as_text(all).substr(1));
  return 0;
}
