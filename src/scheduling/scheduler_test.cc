#include "scheduling/scheduler.h"

#include <algorithm>
#include <map>
#include <set>

#include "scheduling/state.h"
#include "scheduling/story_test.h"

namespace dormouse::scheduling {
namespace {

using namespace std::chrono_literals;

const Terms small{.each = {.cpu_millicores = 1000, .memory_bytes = 128 * mib}};

TEST(Life, WakesServesDozesAndFallsAsleep) {
  Story story;
  story.at(0s, added(1, small));
  EXPECT_EQ(next_tick(story.state), never);
  story.call(1s, 1, {"wake i1 for f1"});
  EXPECT_EQ(held(story.state).memory_bytes, 128 * mib);
  story.at(1100ms, woke(1), {"c1 to i1"});
  story.at(1102ms, ended(1));
  story.call(2s, 2, {"c2 to i1"});
  story.at(2002ms, ended(2));
  story.until(62001ms);
  story.until(62002ms, {"drain i1"});
  story.at(62010ms, lost(1));
  EXPECT_EQ(held(story.state), Resources{});
  EXPECT_EQ(next_tick(story.state), never);
  EXPECT_EQ(story.seen().wake_expected, 100ms);
  EXPECT_EQ(story.seen().run_expected, 2ms);
}

TEST(Life, ACallThatComesWhileTheLastInstanceStopsGetsANewOne) {
  Story story;
  story.at(0s, added(1, small));
  story.awake(0s, 1, 1, 1);
  story.until(60002ms, {"drain i1"});
  story.call(60002ms, 2, {"wake i2 for f1"});
  story.at(60003ms, lost(1));
  story.at(60010ms, woke(2), {"c2 to i2"});
}

TEST(Queue, IsFirstComeFirstServed) {
  Story story;
  story.at(0s, added(1, {.each = small.each, .instances_max = 1}));
  story.call(0s, 1, {"wake i1 for f1"});
  story.call(1ms, 2);
  story.call(2ms, 3);
  story.at(5ms, woke(1), {"c1 to i1"});
  story.at(7ms, left(2));
  story.at(8ms, ended(1), {"c3 to i1"});
  story.at(9ms, left(2));  // Long gone.
}

TEST(Backoff, RefusesWithTheReasonAndStartsNotBeforeItsTime) {
  Story story;
  story.at(0s, added(1, small));
  story.call(0s, 1, {"wake i1 for f1"});
  story.at(100ms, wake_failed(1),
           {"kill i1", "refuse c1 function_failed: no such model, retry after 1 s"});
  story.at(110ms, lost(1));
  story.call(1099ms, 2, {"refuse c2 function_failed: no such model, retry after 1 s"});
  EXPECT_EQ(next_tick(story.state), never);
  story.call(1100ms, 3, {"wake i2 for f1"});
}

TEST(Backoff, DoublesWithEachFailureAndIsForgottenAfterASuccess) {
  Story story;
  story.at(0s, added(1, small));
  Duration now = 0s;
  std::uint64_t key = 0;
  for (const int seconds : {1, 2, 4, 8, 16, 32, 60, 60}) {
    ++key;
    const auto n = std::to_string(key);
    const auto wait = std::to_string(seconds);
    story.call(now, key, {"wake i" + n + " for f1"});
    story.at(now + 1ms, wake_failed(key),
             {"kill i" + n,
              "refuse c" + n + " function_failed: no such model, retry after " + wait + " s"});
    story.at(now + 2ms, lost(key));
    now += 1ms + std::chrono::seconds(seconds);
  }
  EXPECT_EQ(story.seen().failed_starts, 8);
  story.call(now, 9, {"wake i9 for f1"});
  story.at(now + 5ms, woke(9), {"c9 to i9"});
  EXPECT_EQ(story.seen().failed_starts, 0);
}

TEST(Backoff, FollowsHarmAndIsNotForgottenAfterASuccess) {
  Story story;
  const Error why{Code::unavailable, "a bomb"};
  story.at(0s, added(1, {.each = small.each, .concurrency = 2}));
  story.awake(0s, 1, 1, 1);
  story.call(1s, 2, {"c2 to i1"});
  story.at(2s, Broke{InstanceKey{1}, why});
  story.call(2s, 3, {"refuse c3 unavailable: a bomb, retry after 2 s"});
  story.at(3s, lost(1), {"abort c2 in i1 function_failed"});
  story.call(4s, 4, {"wake i2 for f1"});
  story.at(4s, woke(2), {"c4 to i2"});
  story.at(4s, ended(4));
  story.at(5s, Broke{InstanceKey{2}, why});
  story.at(5s, lost(2));
  story.call(8999ms, 5, {"refuse c5 unavailable: a bomb, retry after 1 s"});
  story.call(9s, 6, {"wake i3 for f1"});
}

TEST(Backoff, AfterHarmEndsNoOtherInstance) {
  Story story;
  story.at(0s, added(1, {.each = small.each, .instances_max = 2}));
  story.awake(0s, 1, 1, 1);
  story.call(1s, 2, {"c2 to i1"});
  story.call(1s, 3, {"wake i2 for f1"});
  story.at(2s, woke(2), {"c3 to i2"});
  story.at(3s, Broke{InstanceKey{1}, Error{Code::unavailable, "a bomb"}});
  story.at(3s, lost(1), {"abort c2 in i1 function_failed"});
  story.call(3s, 4);
  story.at(4s, ended(3), {"c4 to i2"});
}

TEST(Start, ThatTakesThreeMinutesIsNotKilledWithinItsTimeout) {
  Story story;
  story.at(0s, added(1, {.each = small.each, .start_timeout = 200s}));
  story.call(0s, 1, {"wake i1 for f1"}, 1, 300s);
  story.call(1s, 2, {}, 1, 30s);
  story.until(179s, {"refuse c2 throttled: waiting for an instance: it was still starting, "
                     "retry after 1 s"});
  story.at(180s, woke(1), {"c1 to i1"});
}

TEST(Start, IsNotWithinTheTimeOfACallThatRunsSoLongFromItsBegin) {
  Story story;
  story.at(0s, added(1, small));
  story.call(0s, 1, {"wake i1 for f1"}, 1, 60s, 3s);
  story.call(0s, 2, {}, 1, 60s, 3s);
  story.at(50s, woke(1), {"c1 to i1"});
  story.until(52s);
  story.at(52s, ended(1), {"c2 to i1"});
  story.until(54s);
  story.until(55s, {"abort c2 in i1 deadline_exceeded", "kill i1"});
}

TEST(Start, IsGivenUpAfterItsTimeout) {
  Story story;
  story.at(0s, added(1, {.each = small.each, .start_timeout = 10s}));
  story.call(0s, 1, {"wake i1 for f1"});
  story.until(10s,
              {"kill i1",
               "refuse c1 function_failed: starting an instance: it was not ready after 10000 ms, "
               "within its start_timeout, "
               "retry after 1 s"});
  story.at(10001ms, woke(1));  // Crossed the command.
  story.at(10002ms, lost(1));
}

TEST(Start, ThatFailsLeavesTheQueueToWhoServes) {
  Story story;
  story.at(0s, added(1, small));
  story.awake(0s, 1, 1, 1, 1s);
  story.call(2s, 2, {"c2 to i1"});
  story.call(2s, 3, {"wake i2 for f1"});
  story.at(2100ms, wake_failed(2), {"kill i2"});
  story.at(2200ms, lost(2));
  story.at(3s, ended(2, 1s), {"c3 to i1"});
}

TEST(Wake, AHundredThatComputeWakeWhatTheCpusRun) {
  Story story;
  story.at(0s, added(1, small));
  story.call(0s, 1000, {"wake i1 for f1"});
  story.at(5ms, woke(1), {"c1000 to i1"});
  story.at(1005ms, ended(1000, 1s));
  story.until(70s, {"drain i1"});
  story.at(71s, lost(1));
  for (std::uint64_t c = 1; c <= 100; ++c) {
    story.call(
        80s, c,
        c <= 2 ? Story::Words{"wake i" + std::to_string(c + 1) + " for f1"} : Story::Words{});
  }
}

// Z2: more than one instance can serve, so two are needed; never one for each call.
TEST(Wake, SevenHundredASecondOfTwoMillisecondsWakeTwo) {
  Story story;
  story.at(0s, added(1, small));
  std::multimap<TimePoint, Event> due;
  for (std::uint64_t c = 1; c <= 21'000; ++c) {
    const TimePoint arrival(Duration(std::int64_t(c) * 1'000'000 / 700));
    due.emplace(arrival, Arrived{CallKey{c}, FunctionKey{1}, arrival + 30s});
  }
  std::size_t wakes = 0, refused = 0, dispatched = 0;
  Commands commands;
  while (dispatched + refused < 21'000) {
    const TimePoint tick = next_tick(story.state);
    const TimePoint now = std::min(tick, due.empty() ? never : due.begin()->first);
    commands.clear();
    if (tick == now) {
      step(story.state, Tick{}, now, commands);
    } else {
      step(story.state, due.extract(due.begin()).mapped(), now, commands);
    }
    for (const auto& command : commands) {
      if (const auto* wake = std::get_if<Wake>(&command)) {
        ++wakes;
        due.emplace(now + 300ms, Woke{wake->instance});
      } else if (const auto* dispatch = std::get_if<Dispatch>(&command)) {
        ++dispatched;
        due.emplace(now + 2ms, Ended{dispatch->call, 2ms, 2ms});
      }
      refused += std::holds_alternative<Refuse>(command);
    }
  }
  EXPECT_EQ(refused, 0u);
  EXPECT_EQ(wakes, 2u);
}

TEST(Dispatch, PrefersTheMostRecentlyUsedAndThenTheBusiest) {
  Story story;
  story.at(0s, added(1, {.each = small.each, .concurrency = 2, .instances_min = 2}),
           {"wake i1 for f1", "wake i2 for f1"});
  story.at(1s, woke(1));
  story.at(2s, woke(2));
  story.call(3s, 1, {"c1 to i2"});
  story.call(4s, 2, {"c2 to i2"});
  story.call(5s, 3, {"c3 to i1"});
  story.at(6s, ended(1));
  story.at(7s, ended(3));
  story.call(8s, 4, {"c4 to i2"});
}

TEST(Queue, IsBoundedAndSaysWhenToComeBack) {
  Story story;
  story.at(0s, added(1, {.each = small.each, .instances_max = 1, .queue_max = 2}));
  story.awake(0s, 1, 1, 1, 3s);
  story.call(4s, 2, {"c2 to i1"});
  story.call(4s, 3);
  story.call(4s, 4);
  story.call(4s, 5, {"refuse c5 throttled: the queue is full: 2 calls wait, retry after 6 s"});
}

TEST(Queue, OfOneSaysThatOneCallWaits) {
  Story story;
  story.at(0s, added(1, {.each = small.each, .instances_max = 1, .queue_max = 1}));
  story.awake(0s, 1, 1, 1, 3s);
  story.call(4s, 2, {"c2 to i1"});
  story.call(4s, 3);
  story.call(4s, 4, {"refuse c4 throttled: the queue is full: 1 call waits, retry after 3 s"});
}

TEST(Queue, OfNoneLetsThoseWaitWhomAnInstanceIsWokenFor) {
  Story story;
  story.at(0s,
           added(1, {.each = small.each, .concurrency = 2, .instances_max = 2, .queue_max = 0}));
  story.call(1s, 1, {"wake i1 for f1"});
  story.call(1s, 2);
  story.call(1s, 3);
  story.call(1s, 4);
  story.call(1s, 5, {"refuse c5 throttled: the queue is full: 4 calls wait, retry after 1 s"});
}

TEST(Running, IsAbortedAtItsDeadlineAndItsWorkerKilled) {
  Story story;
  story.at(0s, added(1, small));
  story.awake(0s, 1, 1, 1);
  story.call(1s, 2, {"c2 to i1"}, 1, 500ms);
  story.until(1500ms, {"abort c2 in i1 deadline_exceeded", "kill i1"});
  story.at(1501ms, ended(2));  // Crossed the command.
  story.at(1502ms, lost(1));
}

TEST(Running, BesideOthersIsAbortedAndTheInstanceStopsAfterThem) {
  Story story;
  story.at(0s, added(1, {.each = small.each, .concurrency = 3, .instances_max = 1}));
  story.awake(0s, 1, 1, 1);
  story.call(1s, 2, {"c2 to i1"});
  story.call(1s, 3, {"c3 to i1"});
  story.at(2s, left(2), {"abort c2 in i1 cancelled"});
  story.at(2s, left(2));
  story.call(3s, 4);  // Takes no more calls, and there may be only one.
  story.at(4s, ended(3), {"kill i1"});
  story.at(5s, lost(1), {"wake i2 for f1"});
}

TEST(Running, InALostInstanceIsAbortedAndTheRestGoesOn) {
  Story story;
  story.at(0s, added(1, {.each = small.each, .instances_max = 1}));
  story.awake(0s, 1, 1, 1);
  story.call(1s, 2, {"c2 to i1"});
  story.call(1s, 3);
  story.at(2s, lost(1), {"abort c2 in i1 function_failed", "wake i2 for f1"});
}

TEST(Running, InABrokenInstanceIsAbortedWhenItIsLostAndNothingFollowsItInto) {
  Story story;
  story.at(0s, added(1, {.each = small.each, .concurrency = 2}));
  story.awake(0s, 1, 1, 1);
  story.call(1s, 2, {"c2 to i1"});
  story.at(2s, broke(1));
  story.at(2s, broke(1));
  story.call(2s, 3, {"wake i2 for f1"});
  story.at(3s, lost(1), {"abort c2 in i1 function_failed"});
  story.at(4s, woke(2), {"c3 to i2"});
}

TEST(OneCall, IsAllThatAnInstanceTakes) {
  Story story;
  story.at(0s, added(1, {.each = small.each, .one_call = true}));
  story.call(0s, 1, {"wake i1 for f1"});
  story.at(10ms, woke(1), {"c1 to i1"});
  story.call(11ms, 2, {"wake i2 for f1"});  // Though i1 may be done sooner.
  story.at(12ms, ended(1), {"drain i1"});
  story.at(20ms, woke(2), {"c2 to i2"});
  story.at(21ms, lost(1));
  story.at(22ms, ended(2), {"drain i2"});
  story.call(23ms, 3, {"wake i3 for f1"});
}

TEST(Dozing, WhenBrokenIsNotStirredAndNotStopped) {
  Story story;
  story.at(0s, added(1, small));
  story.awake(0s, 1, 1, 1);
  story.at(1s, broke(1));
  story.call(1s, 2, {"wake i2 for f1"});
  story.until(10s);
  story.at(10s, lost(1));
  story.at(11s, woke(2), {"c2 to i2"});
}

TEST(Minimum, IsWokenAtOnceKeptAndReplaced) {
  Story story;
  story.at(0s, added(1, {.each = small.each, .instances_min = 1}), {"wake i1 for f1"});
  story.at(1s, woke(1));
  story.until(1000s);
  EXPECT_EQ(next_tick(story.state), never);
  story.at(1000s, lost(1));
  story.until(1001s, {"wake i2 for f1"});  // Died unused: not at once.
  story.at(1002s, woke(2));
  story.call(1003s, 1, {"c1 to i2"});
  story.at(1004s, lost(2), {"abort c1 in i2 function_failed", "wake i3 for f1"});
}

TEST(Withdrawn, ServesWhatItHasAndIsGone) {
  Story story;
  story.at(0s, added(1, small));
  story.call(0s, 1, {"wake i1 for f1"});
  story.at(1ms, withdrawn(1));
  story.call(2ms, 2, {"refuse c2 unavailable: this revision was withdrawn, retry after 1 s"});
  story.at(5ms, woke(1), {"c1 to i1"});
  story.at(7ms, ended(1), {"drain i1"});
  story.at(9ms, lost(1));
  EXPECT_TRUE(story.state.impl().shard.functions.empty());
}

TEST(Closing, LetsTheRunningEndAndNothingElse) {
  Story story;
  story.at(0s, added(1, {.each = small.each, .instances_max = 1}));
  story.at(0s, added(2, small));
  story.at(0s, added(3, small));
  story.awake(0s, 1, 1, 1);
  story.awake(1s, 2, 2, 2);
  story.call(2s, 3, {"c3 to i1"});
  story.call(2s, 4);
  story.call(2s, 5, {"wake i3 for f3"}, 3);
  Commands commands;
  step(story.state, Closing{}, TimePoint(3s), commands);
  std::multiset<std::string> words;
  for (const auto& c : commands) words.insert(std::visit(InWords{}, c));
  EXPECT_EQ(words,
            (std::multiset<std::string>{"drain i2", "kill i3",
                                        "refuse c4 unavailable: shutting down, retry after 1 s",
                                        "refuse c5 unavailable: shutting down, retry after 1 s"}));
  story.call(3s, 6, {"refuse c6 unavailable: shutting down, retry after 1 s"});
  story.at(4s, ended(3), {"drain i1"});
}

TEST(Room, OneThatCanNeverFitIsRefusedAtOnce) {
  Story story;
  story.at(0s, added(1, {.each = {.memory_bytes = 5 * gib}}));
  story.call(0s, 1,
             {"refuse c1 overloaded: one instance needs 5120 MiB of memory, all instances of this "
              "node together may have 4096 MiB"});
}

const Terms big{.each = {.memory_bytes = 2 * gib}};

TEST(Room, IsMadeByWhoIsIdleLongest) {
  Story story;
  for (std::uint64_t f = 1; f <= 3; ++f) story.at(0s, added(f, big));
  story.awake(0s, 1, 1, 1);
  story.awake(10s, 2, 2, 2);
  story.call(20s, 3, {"drain i1"}, 3);
  story.at(21s, lost(1), {"wake i3 for f3"});
}

TEST(Room, GoesToTheOldestCallFirst) {
  Story story;
  for (std::uint64_t f = 1; f <= 4; ++f) story.at(0s, added(f, big));
  story.awake(0s, 1, 1, 1);
  story.awake(0s, 2, 2, 2);
  story.call(1s, 3, {"c3 to i1"}, 1);
  story.call(1s, 4, {"c4 to i2"}, 2);
  story.call(2s, 5, {}, 3);
  story.call(3s, 6, {}, 4);
  story.at(4s, ended(4), {"drain i2"});
  story.at(5s, lost(2), {"wake i3 for f3"});
  story.at(6s, ended(3), {"drain i1"});
  story.at(7s, lost(1), {"wake i4 for f4"});
}

TEST(Room, IsYieldedByTheBusyToWhoHasWaitedLongEnough) {
  Story story({.cpu_millicores = 2000, .memory_bytes = 2 * gib});
  story.at(0s, added(1, big));
  story.at(0s, added(2, big));
  story.awake(0s, 1, 1, 1);
  story.call(1s, 2, {"c2 to i1"});
  story.call(2s, 3, {}, 2);
  story.call(3s, 4);  // A queue that never empties would keep f2 waiting for ever.
  story.at(4s, ended(2), {"drain i1"});
  story.at(5s, lost(1), {"wake i2 for f2"});
}

TEST(Room, ThatTheHungriestLeavesOverMayBeTaken) {
  Story story({.cpu_millicores = 2000, .memory_bytes = 8 * gib});
  story.at(0s, added(1, {.each = {.memory_bytes = 3 * gib}}));
  story.at(0s, added(2, {.each = {.memory_bytes = 6 * gib}}));
  story.at(0s, added(3, {.each = {.memory_bytes = gib}}));
  story.at(0s, added(4, {.each = {.memory_bytes = 2 * gib}}));
  story.awake(0s, 1, 1, 1);
  story.call(1s, 2, {"c2 to i1"}, 1);
  story.call(1s, 3, {}, 2);                  // Waits for the end of c2.
  story.call(1s, 4, {"wake i2 for f3"}, 3);  // Fits beside f2.
  story.call(1s, 5, {}, 4);                  // Has room, but would keep f2 waiting later.
}

TEST(Room, IsMadeByAMinimumIfNothingElseIsIdle) {
  Story story;
  story.at(0s, added(1, {.each = {.memory_bytes = 3 * gib}, .instances_min = 1}),
           {"wake i1 for f1"});
  story.at(1s, woke(1));
  story.at(1s, added(2, big));
  story.call(2s, 1, {"drain i1"}, 2);
  story.at(3s, lost(1), {"wake i2 for f2"});
  story.at(4s, woke(2), {"c1 to i2"});
  story.at(5s, ended(1, 1s));
  story.until(65s, {"drain i2"});
  story.at(66s, lost(2), {"wake i3 for f1"});
}

TEST(Queue, NeverDispatchesWhatIsOverdueEvenIfTheTickIsLate) {
  Story story;
  story.at(0s, added(1, {.each = small.each, .instances_max = 1}));
  story.awake(0s, 1, 1, 1);
  story.call(1s, 2, {"c2 to i1"});
  story.call(1s, 3, {}, 1, 500ms);
  story.at(1501ms, ended(2),
           {"refuse c3 throttled: waiting for an instance: all were in use, retry after 1 s"});
}

TEST(Quiet, AThousandSleepingFunctionsAskForNoTick) {
  Story story;
  for (std::uint64_t f = 1; f <= 1000; ++f) story.at(0s, added(f, small));
  EXPECT_EQ(next_tick(story.state), never);
}

// Z1: whatever comes just before, at, or just after the moment of falling asleep is dispatched.
TEST(Races, CallsAroundTheIdleDeadlineAreAllDispatched) {
  Story story;
  story.at(0s, added(1, small));
  std::uint64_t awake = 0;
  TimePoint now(1s);
  int dispatched = 0, stops = 0, wakes = 0;
  const auto feed = [&](const Event& event, TimePoint at) {
    Commands commands;
    step(story.state, event, at, commands);
    for (const auto& c : commands) {
      dispatched += std::holds_alternative<Dispatch>(c);
      stops += std::holds_alternative<Stop>(c);
      wakes += std::holds_alternative<Wake>(c);
      ASSERT_FALSE(std::holds_alternative<Refuse>(c) || std::holds_alternative<Abort>(c));
    }
  };
  for (std::uint64_t c = 1; c <= 10'000; ++c) {
    const TimePoint idle_deadline = now + small.keep_alive;
    now = idle_deadline + Duration(std::int64_t(c * 7919 % 10'001) - 5000);
    const bool is_late = awake != 0 && now >= idle_deadline;
    if (is_late) feed(Tick{}, idle_deadline);
    feed(Arrived{CallKey{c}, FunctionKey{1}, now + 30s}, now);
    if (is_late) feed(lost(awake), now + 1ms);
    if (is_late || awake == 0) feed(woke(awake = std::uint64_t(wakes)), now + 5ms);
    ASSERT_EQ(dispatched, int(c));
    now += 10ms;
    feed(ended(c), now);
  }
  EXPECT_EQ(wakes, stops + 1);
  EXPECT_GT(stops, 4000);
}

// ---- templates ----

Terms forking(std::int64_t memory_bytes) {
  return {.each = {.cpu_millicores = 1000, .memory_bytes = memory_bytes},
          .keep_alive = 60s,
          .keep_alive_forked = 2s,
          .template_keep_alive = 600s};
}

// At zero, with a template of `holds`: one call was served.
void asleep_with_template(Story& story, std::int64_t memory_bytes, Resources holds) {
  story.at(0us, added(1, forking(memory_bytes)));
  story.call(0us, 1, {"wake i1 for f1"});
  const Resources each{.cpu_millicores = 1000, .memory_bytes = memory_bytes - holds.memory_bytes};
  story.at(100ms, TemplateMade{FunctionKey{1}, holds, each});
  EXPECT_EQ(held(story.state).memory_bytes, memory_bytes);  // Together what was declared.
  story.at(101ms, woke(1), {"c1 to i1"});
  story.at(103ms, ended(1));
  story.until(2102ms);
  story.until(2103ms, {"drain i1"});
  story.at(2110ms, lost(1));
  EXPECT_EQ(held(story.state).memory_bytes, holds.memory_bytes);
}

TEST(Templates, LetInstancesGoSoonAndGoThemselvesAfterTheirOwnKeepAlive) {
  Story story;
  const Resources holds{.memory_bytes = gib / 4};
  asleep_with_template(story, gib, holds);
  EXPECT_TRUE(story.seen().has_template);
  story.until(602'109ms);
  story.until(602'110ms, {"drop the template of f1"});
  EXPECT_FALSE(story.seen().has_template);
  story.at(602'120ms, TemplateLost{FunctionKey{1}, holds, true});
  EXPECT_EQ(held(story.state), Resources{});
}

TEST(Templates, GiveTheirMemoryToThoseWhoHaveCalls) {
  Story story;  // Of 4 GiB.
  const Resources holds{.memory_bytes = 3 * gib};
  asleep_with_template(story, 4 * gib, holds);
  story.at(3s, added(2, forking(2 * gib)));
  story.call(3s, 2, {"drop the template of f1"}, 2);
  story.at(3100ms, TemplateLost{FunctionKey{1}, holds, true}, {"wake i2 for f2"});
}

TEST(Templates, AreKeptByACallThatComesInTime) {
  Story story;
  const Resources holds{.memory_bytes = gib / 4};
  asleep_with_template(story, gib, holds);
  story.call(500s, 2, {"wake i2 for f1"});
  story.at(500s + 2ms, Woke{InstanceKey{2}, true}, {"c2 to i2"});
  story.at(500s + 4ms, ended(2));
  story.until(502s + 4ms, {"drain i2"});
  story.at(502s + 5ms, lost(2));
  story.until(1102s);  // Not before 600 s after that one.
}

TEST(Templates, ThatBreakAreMadeAgainByWhatWakesNext) {
  Story story;
  const Resources holds{.memory_bytes = gib / 4};
  asleep_with_template(story, gib, holds);
  story.at(3s, TemplateBroke{FunctionKey{1}});
  EXPECT_FALSE(story.seen().has_template);
  story.at(3s, TemplateLost{FunctionKey{1}, holds, false});
  story.call(4s, 2, {"wake i2 for f1"});
  EXPECT_EQ(held(story.state).memory_bytes, gib);  // As one that has to load.
}

}  // namespace
}  // namespace dormouse::scheduling
