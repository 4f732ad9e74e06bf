// The identity of an invocation: 128 bits, UUID version 7 (RFC 9562 §5.7), so that ids made later
// sort later and a ledger segment can be found by its id's time.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/time.h"

namespace dormouse {

class InvocationId {
 public:
  InvocationId() = default;  // The nil id: no invocation has it.

  // `random` are 128 random bits, of which 74 are used. unix_ms is taken modulo 2^48.
  static InvocationId make(WallTime time, std::array<std::uint64_t, 2> random);

  // Accepts the form text() gives, in either case; anything else is invalid_argument.
  static Result<InvocationId> parse(std::string_view text);
  static InvocationId from_raw(std::uint64_t high, std::uint64_t low) { return {high, low}; }

  std::string text() const;  // "018f3b2e-7c1a-7abc-8def-0123456789ab"
  WallTime time() const { return {static_cast<std::int64_t>(high_ >> 16)}; }
  std::uint64_t high() const { return high_; }
  std::uint64_t low() const { return low_; }

  friend auto operator<=>(const InvocationId&, const InvocationId&) = default;

 private:
  InvocationId(std::uint64_t high, std::uint64_t low) : high_(high), low_(low) {}
  std::uint64_t high_ = 0;
  std::uint64_t low_ = 0;
};

}  // namespace dormouse
