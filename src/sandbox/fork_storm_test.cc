// S3, the rule: which refusals are a fork bomb's, and how often one looks for them.
#include "sandbox/fork_storm.h"

#include <gtest/gtest.h>

#include <vector>

namespace dormouse::sandbox {
namespace {

using namespace std::chrono_literals;

constexpr TimePoint start{1'000'000'000us};

TEST(ForkStorm, IsManyRefusalsWithinAQuarterOfASecond) {
  ForkStorm storm;
  EXPECT_FALSE(storm.tells(0, false, start));
  EXPECT_FALSE(storm.tells(63, false, start + 10ms));
  EXPECT_TRUE(storm.tells(64, false, start + 20ms));
}

TEST(ForkStorm, IsNotAProgramThatMeetsItsLimitNowAndThen) {
  ForkStorm storm;
  std::uint64_t refused = 0;
  for (Duration at{}; at < 10min; at += 20ms) {
    ASSERT_FALSE(storm.tells(refused += 4, false, start + at)) << at.count();  // 200 a second.
  }
}

// One that was not looked at for long may have been refused as many, one now and one then.
TEST(ForkStorm, IsNotWhatCameTogetherSinceLongAgo) {
  ForkStorm storm;
  EXPECT_FALSE(storm.tells(10, false, start));
  EXPECT_FALSE(storm.tells(10'000, false, start + 1min));
  EXPECT_FALSE(storm.tells(10'063, false, start + 1min + 10ms));
  EXPECT_TRUE(storm.tells(10'064, false, start + 1min + 20ms));
}

TEST(ForkStorm, IsLookedForOftenWhileThereAreRefusalsAndSeldomOtherwise) {
  ForkStorm storm;
  std::vector<Duration> pauses;
  TimePoint now = start;
  for (int look = 0; look < 10; ++look) {
    storm.tells(0, false, now);
    pauses.push_back(storm.look_again());
    now += storm.look_again();
  }
  EXPECT_EQ(pauses,
            (std::vector<Duration>{10ms, 10ms, 10ms, 10ms, 20ms, 40ms, 80ms, 160ms, 320ms, 320ms}));
  storm.tells(1, false, now);
  EXPECT_EQ(storm.look_again(), 10ms);
}

// At what has nothing to show. Gives when it is to be looked at next.
TimePoint look_until_seldom(ForkStorm& storm) {
  TimePoint now = start;
  while (storm.look_again() < ForkStorm::seldom) {
    storm.tells(0, false, now);
    now += storm.look_again();
  }
  return now;
}

TEST(ForkStorm, IsLookedForOftenInWhatHasManyProcesses) {
  ForkStorm storm;
  const TimePoint now = look_until_seldom(storm);
  storm.tells(0, true, now);
  EXPECT_EQ(storm.look_again(), ForkStorm::often);
}

TEST(ForkStorm, IsOfProcessesAndNotOfTheThreadsOfAFew) {
  EXPECT_TRUE(ForkStorm::is_made_of(64, 64));
  EXPECT_TRUE(ForkStorm::is_made_of(32, 64));
  EXPECT_FALSE(ForkStorm::is_made_of(31, 64));
  EXPECT_FALSE(ForkStorm::is_made_of(1, 64));
}

TEST(ForkStorm, IsLookedForOftenAfterARest) {
  ForkStorm storm;
  const TimePoint now = look_until_seldom(storm);
  storm.tells(0, false, now + 1s);
  EXPECT_EQ(storm.look_again(), 10ms);
}

}  // namespace
}  // namespace dormouse::sandbox
