#include "control/query.h"

#include <charconv>
#include <chrono>

#include "base/id.h"
#include "control/quantities.h"
#include "http/message.h"

namespace dormouse::control {
namespace {

// The whole hours that sums are of.
WallTime hour_of(WallTime time) {
  const std::chrono::milliseconds since_1970(time.unix_ms);
  return {std::chrono::milliseconds(std::chrono::floor<std::chrono::hours>(since_1970)).count()};
}

}  // namespace

Result<std::uint64_t> number_in(std::string_view query, std::string_view name, std::uint64_t least,
                                std::uint64_t most, std::uint64_t otherwise) {
  const auto text = http::query_value(query, name);
  if (!text) return otherwise;
  std::uint64_t number = 0;
  const auto [end, failure] = std::from_chars(text->data(), text->data() + text->size(), number);
  const bool whole = failure == std::errc() && end == text->data() + text->size();
  if (whole && number >= least && number <= most) return number;
  return Error{Code::invalid_argument, std::string(name) + " is a whole number from " +
                                           std::to_string(least) + " to " + std::to_string(most)};
}

Result<bool> flag_in(std::string_view query, std::string_view name) {
  const auto text = http::query_value(query, name);
  if (!text || *text == "false") return false;
  if (*text == "true") return true;
  return Error{Code::invalid_argument, std::string(name) + " is \"true\" or \"false\""};
}

Result<std::string> invocation_in(std::string_view query) {
  const auto text = http::query_value(query, "invocation");
  if (!text) return "";
  if (const auto id = InvocationId::parse(*text)) return id->text();
  return Error{Code::invalid_argument,
               "invocation is a call's id, as in its answer's field Dormouse-Invocation"};
}

Result<WallTime> since_in(std::string_view query, WallTime now) {
  const auto text = http::query_value(query, "since");
  if (!text) return WallTime{};
  if (const auto ago = parse_duration(*text)) return hour_of({now.unix_ms - ago->count() / 1000});
  if (const auto time = parse_time(*text)) return hour_of(*time);
  return Error{Code::invalid_argument,
               "since is a duration as \"24h\" or a time as \"2026-11-24T08:30:31Z\""};
}

}  // namespace dormouse::control
