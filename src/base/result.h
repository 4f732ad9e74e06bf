// Errors as values: what failed, whose fault it was, and Result<T> to carry it.
//
// Every operation that can fail for a reason outside this program returns Result<T>. A broken
// invariant is not an Error but a CHECK failure (base/check.h): the process stops. We throw
// nothing; exceptions of third-party libraries become Errors where they enter. The one thing that
// unwinds is cancellation, which Asio raises at a co_await.
#pragma once

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <expected>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "base/check.h"

namespace dormouse {

// Named for what the receiver can do next. Closed on purpose: the gateway maps each code to one
// HTTP status by a switch without `default`.
enum class Code : std::uint8_t {
  invalid_argument,  // Malformed; repeating it cannot help.
  unauthorized,      // No key, or a wrong one.
  not_found,
  conflict,           // The thing is not in a state that allows this; look at it first.
  too_large,          // Over a limit that the function or the server declares.
  unsupported,        // Well-formed, but not something this function or server speaks.
  throttled,          // The function's own limit is reached; repeating later helps.
  overloaded,         // The node has no capacity; repeating later helps.
  deadline_exceeded,  // The invocation's own timeout passed.
  function_failed,    // The function crashed, could not start, or broke a limit it declared.
  unavailable,        // Something of ours is down, or stopping.
  cancelled,          // The caller went away.
};

inline constexpr Code every_code[] = {
    Code::invalid_argument,  Code::unauthorized,    Code::not_found,   Code::conflict,
    Code::too_large,         Code::unsupported,     Code::throttled,   Code::overloaded,
    Code::deadline_exceeded, Code::function_failed, Code::unavailable, Code::cancelled};

// Decides retries and billing: only what the platform is to blame for is free.
enum class Blame : std::uint8_t { caller, function, platform };

constexpr Blame blame(Code code) {
  switch (code) {
    case Code::invalid_argument:
    case Code::unauthorized:
    case Code::not_found:
    case Code::conflict:
    case Code::too_large:
    case Code::unsupported:
    case Code::throttled:
    case Code::cancelled: return Blame::caller;
    case Code::deadline_exceeded:
    case Code::function_failed: return Blame::function;
    case Code::overloaded:
    case Code::unavailable: return Blame::platform;
  }
  CHECK_UNREACHABLE("every Code has a Blame");
}

constexpr std::string_view name(Code code) {
  switch (code) {
    case Code::invalid_argument: return "invalid_argument";
    case Code::unauthorized: return "unauthorized";
    case Code::not_found: return "not_found";
    case Code::conflict: return "conflict";
    case Code::too_large: return "too_large";
    case Code::unsupported: return "unsupported";
    case Code::throttled: return "throttled";
    case Code::overloaded: return "overloaded";
    case Code::deadline_exceeded: return "deadline_exceeded";
    case Code::function_failed: return "function_failed";
    case Code::unavailable: return "unavailable";
    case Code::cancelled: return "cancelled";
  }
  CHECK_UNREACHABLE("every Code has a name");
}

constexpr std::string_view name(Blame blame) {
  switch (blame) {
    case Blame::caller: return "caller";
    case Blame::function: return "function";
    case Blame::platform: return "platform";
  }
  CHECK_UNREACHABLE("every Blame has a name");
}

struct Error {
  Code code;
  std::string message;  // For a person to read; never parsed.
  // What the function itself says of it: a JSON object, not checked yet. "": these are our words.
  std::string document = {};

  // Says what was being attempted: "waiting for an instance: no capacity".
  Error during(std::string_view attempt) && {
    return {code, std::string(attempt) + ": " + std::move(message), std::move(document)};
  }
  friend bool operator==(const Error&, const Error&) = default;
};

// An Error that names what the kernel said: "open /x: No such file or directory".
inline Error system_error(Code code, std::string_view attempt, int error_number = errno) {
  return {code, std::string(attempt) + ": " + std::strerror(error_number)};
}

// A T or an Error. A class of its own so that an ignored one is a warning, which is an error.
template <class T = std::monostate>
class [[nodiscard]] Result : public std::expected<T, Error> {
 public:
  using std::expected<T, Error>::expected;
  Result(Error error) : std::expected<T, Error>(std::unexpected(std::move(error))) {}
};

inline constexpr std::monostate ok{};

}  // namespace dormouse
