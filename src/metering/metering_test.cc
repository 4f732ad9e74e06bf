#include "metering/metering.h"

#include <gtest/gtest.h>

#include <limits>

namespace dormouse::metering {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t mib = 1 << 20;
constexpr std::int64_t int64_max = std::numeric_limits<std::int64_t>::max();

TEST(BilledMs, RoundsEachPartUpToTheMillisecond) {
  struct {
    const char* why;
    Use use;
    bool bills_waking;
    std::int64_t wanted;
  } rows[] = {
      {"nothing ran", {0us, 0us, mib}, false, 0},
      {"a microsecond is a millisecond", {1us, 0us, mib}, false, 1},
      {"exactly one", {1000us, 0us, mib}, false, 1},
      {"one and a bit", {1001us, 0us, mib}, false, 2},
      {"waking is not billed", {1ms, 90ms, mib}, false, 1},
      {"unless the card says so, rounded apart", {1001us, 1us, mib}, true, 3},
      {"a clock that went backwards bills nothing", {-5ms, -1us, mib}, true, 0},
      {"the longest run there can be", {Duration::max(), 0us, mib}, false, int64_max / 1000 + 1},
  };
  for (const auto& row : rows) {
    RateCard card;
    card.bills_waking = row.bills_waking;
    EXPECT_EQ(billed_ms(row.use, card), row.wanted) << row.why;
  }
}

TEST(BilledMib, RoundsUp) {
  EXPECT_EQ(billed_mib(0), 0);
  EXPECT_EQ(billed_mib(1), 1);
  EXPECT_EQ(billed_mib(mib), 1);
  EXPECT_EQ(billed_mib(mib + 1), 2);
  EXPECT_EQ(billed_mib(std::numeric_limits<std::uint64_t>::max()), std::int64_t{1} << 44);
}

TEST(Charge, IsExactToThePicoUnit) {
  struct {
    const char* why;
    Use use;
    Blame blame;
    bool answered;
    std::int64_t wanted;
  } rows[] = {
      {"answered", {1ms, 0us, 128 * mib}, Blame::platform, true, 200'000 + 2'083},
      {"1000 ms of 1 GiB", {1s, 0us, 1024 * mib}, Blame::caller, true, 200'000 + 16'666'700},
      {"the function crashed", {2ms, 0us, mib}, Blame::function, false, 200'000 + 32},
      {"the caller hung up", {1us, 0us, mib}, Blame::caller, false, 200'000 + 16},
      {"our own fault is free", {9s, 0us, 128 * mib}, Blame::platform, false, 0},
  };
  for (const auto& row : rows) {
    const auto charged = charge(row.use, row.blame, row.answered, RateCard{});
    ASSERT_TRUE(charged) << row.why;
    EXPECT_EQ(charged->value, row.wanted) << row.why;
  }
}

TEST(Charge, IsAnErrorAtTheEdgeAndNeverWraps) {
  const Use unit{1s, 0us, 1024 * mib};
  EXPECT_EQ(charge(unit, Blame::caller, true, {{0}, {int64_max}})->value, int64_max);
  EXPECT_EQ(charge(unit, Blame::caller, true, {{1}, {int64_max}}).error().code, Code::too_large);
  EXPECT_EQ(charge({2s, 0us, 1024 * mib}, Blame::caller, true, {{0}, {int64_max}}).error().code,
            Code::too_large);
  EXPECT_EQ(charge({1s, 0us, 2048 * mib}, Blame::caller, true, {{0}, {int64_max}}).error().code,
            Code::too_large);
  EXPECT_EQ(
      charge({Duration::max(), 0us, std::uint64_t{1} << 50}, Blame::caller, true, {}).error().code,
      Code::too_large);
}

}  // namespace
}  // namespace dormouse::metering
