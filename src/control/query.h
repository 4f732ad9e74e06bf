// What the queries of the control API say. invalid_argument names the member and what it may be.
// Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/time.h"

namespace dormouse::control {

// A whole number; `otherwise` if it is left out.
Result<std::uint64_t> number_in(std::string_view query, std::string_view name, std::uint64_t least,
                                std::uint64_t most, std::uint64_t otherwise);
// "true" or "false"; false if it is left out.
Result<bool> flag_in(std::string_view query, std::string_view name);
// `invocation`: an id. "": of any call.
Result<std::string> invocation_in(std::string_view query);
// `since`: "24h" before now, or an instant; the beginning of its hour.
Result<WallTime> since_in(std::string_view query, WallTime now);

}  // namespace dormouse::control
