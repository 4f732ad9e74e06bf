// Where the bytes of a body lie among those that arrive, whichever way it is framed. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "http/chunked.h"

namespace dormouse::http {

class BodyCursor {
 public:
  static BodyCursor none() { return sized(0); }
  static BodyCursor sized(std::uint64_t bytes) { return BodyCursor(Kind::sized, bytes); }
  static BodyCursor chunked() { return BodyCursor(Kind::chunked, 0); }
  static BodyCursor until_close() { return BodyCursor(Kind::until_close, 0); }

  struct Step {
    std::size_t framing = 0;  // Bytes to drop,
    std::string_view data;    // and those of the body behind them; empty if more has to arrive.
  };
  // Takes from the front of `input`: framing, and then data up to the next framing.
  Accepted<Step> take(std::string_view input);

  bool complete() const;
  bool ends_with_connection() const { return kind_ == Kind::until_close; }
  const Fields& trailers() const { return chunks_.trailers(); }

 private:
  enum class Kind : std::uint8_t { sized, chunked, until_close };
  BodyCursor(Kind kind, std::uint64_t left) : kind_(kind), left_(left) {}

  Kind kind_;
  std::uint64_t left_;  // Of a sized one.
  ChunkedFraming chunks_;
};

}  // namespace dormouse::http
