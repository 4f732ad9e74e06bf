#include "control/quantities.h"

#include <gtest/gtest.h>

#include <array>

namespace dormouse::control {
namespace {

using namespace std::chrono_literals;

TEST(Sizes, AreReadExactly) {
  const struct {
    const char* text;
    std::int64_t bytes;
  } rows[] = {
      {"0", 0},
      {"1048576", 1 << 20},
      {"12B", 12},
      {"64KiB", 64 << 10},
      {"512MiB", 512 << 20},
      {"1.5GiB", 1536LL << 20},
      {"0.5KiB", 512},
      {"4TiB", 4LL << 40},
  };
  for (const auto& row : rows) EXPECT_EQ(parse_size(row.text), row.bytes) << row.text;
  for (const char* text : {"", "MiB", "-1", "1 MiB", "512MB", "512mib", "1e3", "0x10", "1.5", ".5",
                           "1..5MiB", "0.3KiB", "9999999TiB", "99999999999999999999", "1MiB2"}) {
    EXPECT_FALSE(parse_size(text)) << text;
  }
}

TEST(Durations, AreReadExactly) {
  const struct {
    const char* text;
    Duration duration;
  } rows[] = {
      {"0s", 0s},       {"500ms", 500ms}, {"30s", 30s},     {"1.5s", 1500ms},
      {"5m", 5min},     {"1h", 1h},       {"1h30m", 90min}, {"2d", 48h},
      {"250us", 250us}, {"0.1ms", 100us}, {"90s", 90s},     {"1m0.5s", 60500ms},
  };
  for (const auto& row : rows) EXPECT_EQ(parse_duration(row.text), row.duration) << row.text;
  for (const char* text : {"", "30", "s", "-1s", "1 s", "1S", "1e3s", "0.1us", "1h30", "9999999d",
                           "100000000000000000000s", "1m1"}) {
    EXPECT_FALSE(parse_duration(text)) << text;
  }
}

TEST(Texts, AreReadBackAsWhatTheyWere) {
  for (const std::int64_t bytes : {0LL, 1LL, 1023LL, 1024LL, 1536LL << 10, 1LL << 30, 1LL << 42}) {
    EXPECT_EQ(parse_size(size_text(bytes)), bytes);
  }
  for (const Duration duration :
       std::array<Duration, 8>{0us, 1us, 1001us, 1500ms, 90s, 3661s, 48h, 25h + 1ms}) {
    EXPECT_EQ(parse_duration(duration_text(duration)), duration) << duration_text(duration);
  }
  for (const std::int64_t cores : {10, 500, 1000, 1500, 64000}) {
    EXPECT_EQ(parse_millicores(millicores_text(cores)), cores);
  }
  EXPECT_EQ(duration_text(90s), "1m30s");
  EXPECT_EQ(size_text(512 << 20), "512MiB");
  EXPECT_EQ(millicores_text(500), "0.5");
}

TEST(Millicores, AreCoresOrThousandths) {
  EXPECT_EQ(parse_millicores("1"), 1000);
  EXPECT_EQ(parse_millicores("0.5"), 500);
  EXPECT_EQ(parse_millicores("500m"), 500);
  for (const char* text : {"", "m", "-1", "1.5m", "0.0005", "1 core", "nan"}) {
    EXPECT_FALSE(parse_millicores(text)) << text;
  }
}

TEST(Times, AreUtcAndSurviveTheirText) {
  EXPECT_EQ(parse_time("1970-01-02"), WallTime{86'400'000});
  EXPECT_EQ(parse_time("2023-11-14T22:13:20Z"), WallTime{1'700'000'000'000});
  EXPECT_EQ(parse_time("2023-11-14T22:13:20.123Z"), WallTime{1'700'000'000'123});
  EXPECT_EQ(time_text({1'700'000'000'123}), "2023-11-14T22:13:20.123Z");
  EXPECT_EQ(parse_time(time_text({1'700'000'000'007})), WallTime{1'700'000'000'007});
  for (const char* text :
       {"", "2023", "2023-13-01", "2023-02-30", "2023-11-14T22:13:20", "2023-11-14T25:00:00Z",
        "2023-11-14T22:13:20+01:00", "2023-11-14 22:13:20Z", "2023-11-14T22:13:20.1Z"}) {
    EXPECT_FALSE(parse_time(text)) << text;
  }
}

TEST(Nearest, FindsWhatWasMeant) {
  constexpr std::string_view names[] = {"memory", "min_instances", "queue", "timeout"};
  EXPECT_EQ(nearest("memroy", names), "memory");
  EXPECT_EQ(nearest("instances", names), "min_instances");
  EXPECT_EQ(nearest("time_out", names), "timeout");
  EXPECT_EQ(nearest("colour", names), "");
  EXPECT_EQ(nearest(std::string(100'000, 'a'), names), "");
  EXPECT_EQ(unknown_name("field", "colour", names).message,
            "unknown field \"colour\"; known are memory, min_instances, queue, timeout");
}

}  // namespace
}  // namespace dormouse::control
