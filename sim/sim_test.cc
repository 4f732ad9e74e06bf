#include <gtest/gtest.h>

#include <fstream>

#include "replay.h"

namespace dormouse::sim {
namespace {

using std::chrono::minutes;

Trace one(std::vector<std::uint32_t> by_minute) {
  return {{{"f", 1024, by_minute}}, by_minute.size()};
}

TEST(Replay, CountsColdStartsAndWhatLiesIdle) {
  const Trace trace = one({3, 1, 0, 0, 7, 0, 1, 0});
  struct {
    const char* why;
    int keep_alive, cold;
    double idle;
  } rows[] = {
      {"unload at once: each busy minute is a cold start", 0, 4, 0},
      {"a gap as long as the keep-alive is not bridged", 1, 3, 3},
      {"one shorter is", 2, 2, 4},
      {"it is held until the trace ends", 60, 1, 4},
  };
  for (const auto& row : rows) {
    const Outcome outcome = replay(trace, {.keep_alive = minutes(row.keep_alive)});
    EXPECT_EQ(outcome.cold_starts, row.cold) << row.why;
    EXPECT_DOUBLE_EQ(outcome.idle_gigabyte_minutes, row.idle) << row.why;
    EXPECT_DOUBLE_EQ(outcome.busy_gigabyte_minutes, 4) << row.why;
  }
}

TEST(Trace, IsReadFromTheDataSetsColumns) {
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / "trace";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "invocations.csv")
      << "HashOwner,HashApp,HashFunction,Trigger,480,481\no,a,f,http,0,12\n";
  std::ofstream(folder / "memory.csv")
      << "HashFunction,HashOwner,HashApp,SampleCount,AverageAllocatedMb\nf,o,a,9,12.5\n";
  const auto trace = read_trace(folder);
  ASSERT_TRUE(trace) << trace.error().message;
  ASSERT_EQ(trace->functions.size(), 1u);
  EXPECT_EQ(trace->functions[0].megabytes, 12.5);
  EXPECT_EQ(trace->functions[0].by_minute, (std::vector<std::uint32_t>{0, 12}));

  std::ofstream(folder / "invocations.csv") << "HashFunction,Trigger,480\nf,http,many\n";
  EXPECT_FALSE(read_trace(folder));
  std::filesystem::remove_all(folder);
  EXPECT_FALSE(read_trace(folder));
}

}  // namespace
}  // namespace dormouse::sim
