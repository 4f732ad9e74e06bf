// Why bytes are no acceptable message, as HTTP says it. The connection is closed after it. Pure.
#pragma once

#include <expected>

namespace dormouse::http {

struct Rejection {
  int status;
  const char* why;  // A constant: nothing of the client's is in it.
};

template <class T>
using Accepted = std::expected<T, Rejection>;

constexpr std::unexpected<Rejection> refuse(const char* why, int status = 400) {
  return std::unexpected(Rejection{status, why});
}

}  // namespace dormouse::http
