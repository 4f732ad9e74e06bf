#include "base/id.h"

namespace dormouse {
namespace {

constexpr std::size_t text_size = 36;
constexpr bool is_dash(std::size_t at) {
  return at == 8 || at == 13 || at == 18 || at == 23;
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

InvocationId InvocationId::make(WallTime time, std::array<std::uint64_t, 2> random) {
  const auto ms = static_cast<std::uint64_t>(time.unix_ms);
  const std::uint64_t version = 0x7000, variant = 0x8000'0000'0000'0000;
  return {(ms << 16) | version | (random[0] & 0x0FFF), variant | (random[1] >> 2)};
}

Result<InvocationId> InvocationId::parse(std::string_view text) {
  const Error malformed{Code::invalid_argument,
                        "an invocation id looks like "
                        "018f3b2e-7c1a-7abc-8def-0123456789ab"};
  if (text.size() != text_size) return malformed;
  std::uint64_t halves[2] = {0, 0};
  int digits = 0;
  for (std::size_t i = 0; i < text_size; ++i) {
    if (is_dash(i)) {
      if (text[i] != '-') return malformed;
      continue;
    }
    const int value = hex_value(text[i]);
    if (value < 0) return malformed;
    std::uint64_t& half = halves[digits++ / 16];
    half = half << 4 | static_cast<std::uint64_t>(value);
  }
  return InvocationId(halves[0], halves[1]);
}

std::string InvocationId::text() const {
  std::string out(text_size, '-');
  std::size_t at = 0;
  for (const std::uint64_t half : {high_, low_}) {
    for (int shift = 60; shift >= 0; shift -= 4) {
      at += is_dash(at) ? 1 : 0;
      out[at++] = "0123456789abcdef"[half >> shift & 0xF];
    }
  }
  return out;
}

}  // namespace dormouse
