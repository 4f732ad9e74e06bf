// Why bytes are no acceptable message, as HTTP says it. The connection is closed after it. Pure.
#pragma once

#include <cstdint>
#include <expected>
#include <string>

namespace dormouse::http {

struct Rejection {
  int status;
  const char* why;              // A constant: nothing of the client's is in it.
  std::uint64_t bytes_max = 0;  // Of a body that is too long (413): what it may have.
};

template <class T>
using Accepted = std::expected<T, Rejection>;

constexpr std::unexpected<Rejection> refuse(const char* why, int status = 400) {
  return std::unexpected(Rejection{status, why});
}

constexpr Rejection too_long(std::uint64_t bytes_max) {
  return {413, bytes_max > 0 ? "a body that is too long" : "a body where there may be none",
          bytes_max};
}

inline std::string text_of(const Rejection& rejection) {
  if (rejection.bytes_max == 0) return rejection.why;
  return std::string(rejection.why) + ": at most " + std::to_string(rejection.bytes_max) + " bytes";
}

}  // namespace dormouse::http
