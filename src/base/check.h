// Assertions for bugs in this program, on in every build. A failed CHECK prints where and aborts.
#pragma once

#include <cstdio>
#include <cstdlib>

#define CHECK(condition)                  \
  (static_cast<bool>(condition) ? void(0) \
                                : ::dormouse::check_failed(#condition, __FILE__, __LINE__))
#define CHECK_UNREACHABLE(why) ::dormouse::check_failed("unreachable: " why, __FILE__, __LINE__)

namespace dormouse {
[[noreturn]] inline void check_failed(const char* what, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: CHECK failed: %s\n", file, line, what);
  std::abort();
}
}  // namespace dormouse
