// Sizes, durations and shares of a CPU as people write and read them. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/time.h"

namespace dormouse::control {

// "512MiB", "1GiB", "1.5GiB", "64KiB", "1048576". Binary units only: KiB, MiB, GiB, TiB.
Result<std::int64_t> parse_size(std::string_view);
std::string size_text(std::int64_t bytes);  // Exact: what parse_size() reads back.

// "500ms", "30s", "1.5s", "5m", "1h", "2d"; also "1h30m". Never negative; at most 10 years.
Result<Duration> parse_duration(std::string_view);
std::string duration_text(Duration);  // Exact down to the microsecond: "1m30s", "1.5ms".

// "1", "0.5", "500m": thousandths of a core.
Result<std::int64_t> parse_millicores(std::string_view);
std::string millicores_text(std::int64_t);

// An instant in UTC: "2026-11-24", "2026-11-24T08:30:31Z" with or without ".123".
Result<WallTime> parse_time(std::string_view);
std::string time_text(WallTime);  // "2026-11-24T08:30:31.123Z"

// The one of `names` that was probably meant by `name`; "" if none is near.
std::string_view nearest(std::string_view name, std::span<const std::string_view> names);

// "unknown field \"memroy\"; did you mean \"memory\"?", or a list of all if none is near.
Error unknown_name(std::string_view what, std::string_view name,
                   std::span<const std::string_view> names);

}  // namespace dormouse::control
