// Where the bytes of a request's body go: a string while it is short, a memfd once it is long.
// Whoever reads the socket asks for room(), receives into it and says how much came, so a long body
// is copied once, by the kernel.
//
// Errors     unavailable if there is no memory or descriptor for it; overloaded if its budget is
//            spent.
#pragma once

#include <cstdint>
#include <span>

#include "base/result.h"
#include "http/message.h"

namespace dormouse::http {

class IncomingBody {
 public:
  // At most `bytes_max` in all. `bytes_expected` is Content-Length, or 0 if it is not known. What
  // is in a memfd takes its share of `budget`.
  IncomingBody(std::shared_ptr<BodyBudget> budget, std::uint64_t bytes_expected,
               std::uint64_t inline_bytes_max, std::uint64_t bytes_max);
  IncomingBody(const IncomingBody&) = delete;
  IncomingBody& operator=(const IncomingBody&) = delete;
  ~IncomingBody();

  // In a memfd the body begins there, which is to be said first.
  void begin_at(std::uint64_t offset) { begin_ = offset; }
  // Room for at least one byte and at most `wanted`, which must be within bytes_max.
  Result<std::span<char>> room(std::uint64_t wanted);
  void received(std::uint64_t bytes) { size_ += bytes; }
  std::uint64_t size() const { return size_; }

  // What was received. A memfd is sealed: its bytes change no more.
  Result<Body> finish();

 private:
  Result<> move_to_memfd();
  Result<> grow_file(std::uint64_t size_min);

  BodyShare share_;
  std::uint64_t bytes_expected_;
  std::uint64_t inline_bytes_max_;
  std::uint64_t bytes_max_;
  std::uint64_t begin_ = 0;
  std::uint64_t size_ = 0;
  std::string text_;
  int memfd_ = -1;
  char* mapping_ = nullptr;  // Of bytes_mapped_ bytes; those within the file may be touched.
  std::uint64_t bytes_mapped_ = 0;
  std::uint64_t file_size_ = 0;
};

}  // namespace dormouse::http
