// The framing of a chunked body (RFC 9112 §7.1), fed in pieces of any size. It says how many bytes
// of data come next, so that whoever reads the socket can put them where they belong without
// copying them through here. Pure; memory is bounded by the trailer section's limit.
//
// Stricter than the RFC: no whitespace around sizes and extensions, at most 16 hexadecimal digits.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "http/message.h"
#include "http/rejection.h"

namespace dormouse::http {

class ChunkedFraming {
 public:
  // An extension says nothing that we act on: 16 KiB over a whole body is more than anyone sends.
  static constexpr std::size_t extension_bytes_max = 16 * 1024;
  static constexpr std::size_t trailer_bytes_max = 8 * 1024;
  static constexpr std::size_t trailers_max = 64;

  // Reads framing from the front of `input` and stops before data, or after the end of the body.
  // Gives how many bytes it consumed: all, unless data or the end came first.
  Accepted<std::size_t> read(std::string_view input);

  std::uint64_t data_left() const { return data_left_; }  // How many bytes of data come next.
  void skip_data(std::uint64_t bytes);                    // That many of them were taken.
  bool complete() const { return state_ == State::complete; }
  const Fields& trailers() const { return trailers_; }  // Once complete.

 private:
  enum class State : std::uint8_t {
    size_first,
    size,
    extension,
    size_lf,
    data,
    data_cr,
    data_lf,
    trailer,
    complete,
  };
  Accepted<State> step(char c);
  Accepted<State> step_size(char c);
  Accepted<State> step_trailer(char c);

  State state_ = State::size_first;
  std::uint64_t data_left_ = 0;
  std::uint64_t size_ = 0;
  unsigned digits_ = 0;
  std::size_t extension_bytes_ = 0;
  std::string trailer_section_;
  Fields trailers_;
};

}  // namespace dormouse::http
