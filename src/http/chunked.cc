#include "http/chunked.h"

#include "base/check.h"
#include "http/head.h"
#include "http/hex.h"

namespace dormouse::http {
Accepted<std::size_t> ChunkedFraming::read(std::string_view input) {
  std::size_t consumed = 0;
  while (consumed < input.size() && state_ != State::data && state_ != State::complete) {
    const auto next = step(input[consumed]);
    if (!next) return std::unexpected(next.error());
    state_ = *next;
    ++consumed;
  }
  return consumed;
}

void ChunkedFraming::skip_data(std::uint64_t bytes) {
  CHECK(state_ == State::data && bytes <= data_left_);
  data_left_ -= bytes;
  if (data_left_ == 0) state_ = State::data_cr;
}

Accepted<ChunkedFraming::State> ChunkedFraming::step(char c) {
  switch (state_) {
    case State::size_first:
      if (hex_digit(c) < 0) return refuse("a chunk size that is not a hexadecimal number");
      size_ = 0;
      digits_ = 0;
      return step_size(c);
    case State::size: return step_size(c);
    case State::extension:
      if (c == '\r') return State::size_lf;
      if (!is_field_value({&c, 1})) return refuse("a control byte in a chunk extension");
      if (++extension_bytes_ > extension_bytes_max) return refuse("too long chunk extensions");
      return State::extension;
    case State::size_lf:
      if (c != '\n') return refuse("a chunk size that does not end in CR LF");
      data_left_ = size_;
      return size_ == 0 ? State::trailer : State::data;
    case State::data_cr:
      if (c != '\r') return refuse("a chunk longer than its size");
      return State::data_lf;
    case State::data_lf:
      if (c != '\n') return refuse("a chunk that does not end in CR LF");
      return State::size_first;
    case State::trailer: return step_trailer(c);
    case State::data:
    case State::complete: break;
  }
  CHECK_UNREACHABLE("read() stops at data and at the end");
}

Accepted<ChunkedFraming::State> ChunkedFraming::step_size(char c) {
  const int digit = hex_digit(c);
  if (digit >= 0) {
    if (++digits_ > 16 || size_ > (INT64_MAX >> 4)) return refuse("a chunk size beyond 63 bits");
    size_ = size_ * 16 + static_cast<unsigned>(digit);
    return State::size;
  }
  if (c == '\r') return State::size_lf;
  if (c == ';') return State::extension;
  return refuse("a chunk size that is not a hexadecimal number");
}

Accepted<ChunkedFraming::State> ChunkedFraming::step_trailer(char c) {
  trailer_section_ += c;
  if (c != '\n') {
    if (trailer_section_.size() > trailer_bytes_max) return refuse("too long trailers");
    return State::trailer;
  }
  if (!trailer_section_.ends_with("\r\n")) return refuse("a trailer that does not end in CR LF");
  if (trailer_section_ != "\r\n" && !trailer_section_.ends_with("\n\r\n")) return State::trailer;

  const std::string_view fields(trailer_section_.data(), trailer_section_.size() - 2);
  auto parsed = parse_fields(fields, trailers_max);
  if (!parsed) return refuse("a malformed trailer");
  trailers_ = *std::move(parsed);
  return State::complete;
}

}  // namespace dormouse::http
