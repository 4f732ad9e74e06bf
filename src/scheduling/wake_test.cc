#include "scheduling/wake.h"

#include <gtest/gtest.h>

#include "scheduling/backoff.h"
#include "scheduling/reclaim.h"

namespace dormouse::scheduling {
namespace {

using namespace std::chrono_literals;

TEST(InstancesToWake, OnlyWhatIsSoonerThanWaiting) {
  struct {
    const char* why;
    Demand demand;
    int wanted;
  } rows[] = {
      // queued, slots, waking, concurrency, one_call, run, wake, running_for, cpu_share, cpus
      {"nobody waits", {0, 0, 0, 1, false, 1s, 5ms, 0s, 1, 2}, 0},
      {"the first call wakes exactly one", {1, 0, 0, 1, false, 1s, 5ms, 0s, 1, 2}, 1},
      {"and none while it is on its way", {1, 0, 1, 1, false, 1s, 5ms, 0s, 1, 2}, 0},
      {"100 that compute: what 2 CPUs run", {100, 0, 0, 1, false, 1s, 5ms, 0s, 1, 2}, 2},
      {"one is there: one more", {100, 1, 0, 1, false, 1s, 5ms, 0s, 1, 2}, 1},
      {"both CPUs are busy: wait", {100, 2, 0, 1, false, 1s, 5ms, 500ms, 1, 2}, 0},
      {"100 that sleep: as many as calls", {100, 0, 0, 1, false, 1s, 5ms, 0s, 0, 2}, 100},
      {"half asleep: twice the CPUs", {100, 0, 0, 1, false, 1s, 5ms, 0s, 0.5, 2}, 4},
      {"short runs, slow wakes, short queue", {5, 0, 0, 1, false, 2ms, 100ms, 0s, 1, 2}, 1},
      {"a long queue outweighs a wake", {120, 0, 0, 1, false, 2ms, 100ms, 0s, 0, 2}, 3},
      {"what is free before a wake is over counts", {10, 1, 0, 1, false, 10ms, 200ms, 0s, 0, 2}, 0},
      {"8 slots each: 16 waiting want 2", {16, 0, 0, 8, false, 1s, 5ms, 0s, 0, 2}, 2},
      {"8 slots each: 17 want 3", {17, 0, 0, 8, false, 1s, 5ms, 0s, 0, 2}, 3},
      {"stuck behind what never ends", {1, 1, 0, 1, false, 2ms, 100ms, 5s, 1, 2}, 1},
      {"stuck on every CPU: share them", {1, 2, 0, 1, false, 2ms, 100ms, 5s, 1, 2}, 1},
      {"no ceiling known", {100, 0, 0, 1, false, 1s, 5ms, 0s, 1, 0}, 100},
      {"one call each: nothing comes free", {5, 1, 0, 1, true, 2ms, 100ms, 0s, 0, 2}, 5},
      {"one call each: what is on its way counts", {5, 1, 3, 1, true, 2ms, 100ms, 0s, 0, 2}, 2},
      {"one call each: what 2 CPUs run", {5, 1, 0, 1, true, 1s, 5ms, 0s, 1, 2}, 1},
      {"never seen: up to the CPUs",
       {100, 0, 0, 1, false, Learned::run_guess, Learned::wake_guess, 0s, 1, 2},
       2},
  };
  for (const auto& row : rows) EXPECT_EQ(instances_to_wake(row.demand), row.wanted) << row.why;
}

TEST(ExpectedWait, CountsTheQueueAheadAndWhatIsOnItsWay) {
  EXPECT_EQ(expected_wait({.queued = 10, .slots = 1, .slots_waking = 1, .run = 1s, .cpu_share = 0}),
            5s);
  EXPECT_EQ(expected_wait({.queued = 10, .slots = 5, .run = 1s, .cpu_share = 1, .cpus = 2}), 5s);
}

TEST(Learned, FollowsWhatItSees) {
  Learned learned;
  EXPECT_EQ(learned.run_expected(), Learned::run_guess);
  EXPECT_EQ(learned.wake_expected(), Learned::wake_guess);
  EXPECT_EQ(learned.cpu_share(), 1);
  learned.ran(1s, 250ms);
  learned.woke(40ms);
  EXPECT_EQ(learned.run_expected(), 1s);
  EXPECT_EQ(learned.wake_expected(), 40ms);
  EXPECT_EQ(learned.cpu_share(), 0.25);
  learned.ran(2s, 250ms);
  EXPECT_EQ(learned.run_expected(), 1125ms);
  learned.ran_into_deadline(1s);  // Less than expected: says nothing.
  EXPECT_EQ(learned.run_expected(), 1125ms);
  learned.ran_into_deadline(30s);
  EXPECT_GT(learned.run_expected(), 4s);
}

TEST(Backoff, DoublesUpToAMinute) {
  const int seconds[] = {0, 1, 2, 4, 8, 16, 32, 60, 60};
  for (int n = 0; n < 9; ++n) EXPECT_EQ(backoff(n), std::chrono::seconds(seconds[n])) << n;
  EXPECT_EQ(backoff(1'000'000), 60s);
}

TEST(Backoff, CountsStartsThatFailTogetherOnce) {
  Backoff b;
  const TimePoint t(100s);
  b.failed(t, t + 1s, {Code::function_failed, "first"});
  b.failed(t, t + 1500ms, {Code::function_failed, "second"});
  EXPECT_EQ(b.failures, 1);
  EXPECT_EQ(b.next_start_at(), t + 2500ms);
  EXPECT_EQ(b.last.message, "second");
  b.failed(t + 3s, t + 4s, {Code::function_failed, "third"});
  EXPECT_EQ(b.failures, 2);
  EXPECT_EQ(b.next_start_at(), t + 6s);
  b.succeeded();
  EXPECT_FALSE(b.holds(t + 4s));
}

TEST(Backoff, AfterHarmIsForgivenByTimeAlone) {
  Backoff b;
  const TimePoint t(100s);
  const Error bomb{Code::unavailable, "a bomb"};
  b.did_harm(t, bomb);
  b.did_harm(t + 1ms, bomb);  // Of another instance, called at the same time.
  EXPECT_EQ(b.next_start_at(), t + 2s + 1ms);
  EXPECT_EQ(b.why().message, "a bomb");
  b.succeeded();
  EXPECT_TRUE(b.holds(t + 2s));
  EXPECT_FALSE(b.holds(t + 2s + 1ms));
  b.did_harm(t + 3s, bomb);
  EXPECT_EQ(b.next_start_at(), t + 7s);
  b.did_harm(t + 3s + harm_is_forgotten, bomb);
  EXPECT_EQ(b.next_start_at(), t + 3s + harm_is_forgotten + 8s);
  b.did_harm(t + 4s + 2 * harm_is_forgotten, bomb);
  EXPECT_EQ(b.next_start_at(), t + 4s + 2 * harm_is_forgotten + 2s);
}

TEST(Backoff, IsTheLongerOfBoth) {
  Backoff b;
  const TimePoint t(100s);
  b.failed(t, t, {Code::function_failed, "no file"});
  b.did_harm(t, {Code::unavailable, "a bomb"});
  EXPECT_EQ(b.next_start_at(), t + 2s);
  EXPECT_EQ(b.why().message, "a bomb");
  b.failed(t + 2s, t + 2s, {Code::function_failed, "no file"});
  b.failed(t + 4s, t + 4s, {Code::function_failed, "no file"});
  EXPECT_EQ(b.next_start_at(), t + 8s);
  EXPECT_EQ(b.why().message, "no file");
}

TEST(SavingPerByte, IsLeastForLongIdleBigAndCheapToWake) {
  const Holding usual{.idle = 10s, .wake = 100ms, .bytes = 1 << 20};
  EXPECT_LT(saving_per_byte({.idle = 20s, .wake = 100ms, .bytes = 1 << 20}),
            saving_per_byte(usual));
  EXPECT_LT(saving_per_byte({.idle = 10s, .wake = 50ms, .bytes = 1 << 20}), saving_per_byte(usual));
  EXPECT_LT(saving_per_byte({.idle = 10s, .wake = 100ms, .bytes = 2 << 20}),
            saving_per_byte(usual));
}

TEST(WholeSeconds, RoundsUpAndIsAtLeastOne) {
  EXPECT_EQ(whole_seconds(0s), 1s);
  EXPECT_EQ(whole_seconds(1s), 1s);
  EXPECT_EQ(whole_seconds(1001ms), 2s);
}

}  // namespace
}  // namespace dormouse::scheduling
