// Who runs while one function waits for more memory than there is: told as stories, and measured
// with clients that call in a loop.
#include <algorithm>
#include <map>

#include "scheduling/story_test.h"

namespace dormouse::scheduling {
namespace {

using namespace std::chrono_literals;

Terms of(std::int64_t memory_bytes) {
  return {.each = {.cpu_millicores = 1000, .memory_bytes = memory_bytes}, .instances_max = 1};
}

constexpr Resources node{.cpu_millicores = 2000, .memory_bytes = gib};

// Function 1 holds half for long, 2 needs nearly all, 3 fits beside 1.
void add_three(Story& story) {
  story.at(0s, added(1, of(512 * mib)));
  story.at(0s, added(2, of(900 * mib)));
  story.at(0s, added(3, of(256 * mib)));
}

TEST(RoomForAll, IsTakenByWhoSleepsBesideALongCallThatALargeOneWaitsFor) {
  Story story(node);
  add_three(story);
  story.call(0s, 1, {"wake i1 for f1"});
  story.at(1s, woke(1), {"c1 to i1"});
  story.call(2s, 2, {}, 2);
  story.call(3s, 3, {"wake i2 for f3"}, 3);
  story.at(4s, woke(2), {"c3 to i2"});
  story.at(5s, ended(3, 1s));
  story.at(24s, ended(1, 23s), {"drain i1", "drain i2"});  // Now it is enough.
  story.at(24s, lost(1));
  story.at(24s, lost(2), {"wake i3 for f2"});
}

TEST(RoomForAll, IsNotMadeByATemplateWhereThatCannotSuffice) {
  Story story(node);
  add_three(story);
  story.call(0s, 1, {"wake i1 for f3"}, 3);
  const Resources holds{.memory_bytes = 128 * mib};
  story.at(1s, TemplateMade{FunctionKey{3}, holds, holds});
  story.at(1s, woke(1), {"c1 to i1"});
  story.at(2s, ended(1));
  story.until(5s, {"drain i1"});
  story.at(5s, lost(1));
  story.call(5s, 2, {"wake i2 for f1"});
  story.at(6s, woke(2), {"c2 to i2"});
  story.call(8s, 3, {}, 2);
  story.until(20s);
  EXPECT_TRUE(story.seen(3).has_template);
  story.at(24s, ended(2, 18s), {"drain i2", "drop the template of f3"});
}

TEST(RoomForAll, IsMadeByTheTemplateOfOneThatWaitsForLess) {
  Story story(node);
  story.at(0s, added(1, of(900 * mib)));
  story.at(0s, added(2, of(900 * mib)));
  story.call(0s, 1, {"wake i1 for f1"});
  const Resources holds{.memory_bytes = 450 * mib};
  story.at(1s, TemplateMade{FunctionKey{1}, holds, holds});
  story.at(1s, woke(1), {"c1 to i1"});
  story.call(2s, 2, {}, 2);
  story.call(3s, 3);
  story.at(4s, ended(1, 3s), {"drain i1"});
  story.at(4s, lost(1), {"drop the template of f1"});  // Though c3 waits for it.
  story.at(5s, TemplateLost{FunctionKey{1}, holds, true}, {"wake i2 for f2"});
}

TEST(RoomForAll, ThatDoesNotSufficeForTheFirstGoesToTheNextThatItDoesFor) {
  Story story(node);
  story.at(0s, added(1, of(400 * mib)));
  story.at(0s, added(2, of(600 * mib)));
  story.at(0s, added(3, of(900 * mib)));
  story.at(0s, added(4, of(500 * mib)));
  story.call(0s, 1, {"wake i1 for f1"});
  story.at(1s, woke(1), {"c1 to i1"});
  story.call(1s, 2, {"wake i2 for f2"}, 2);
  story.at(2s, woke(2), {"c2 to i2"});
  story.call(4s, 3, {}, 3);
  story.call(5s, 4, {}, 4);
  story.at(6s, ended(2, 4s), {"drain i2"});  // For f4: f3 cannot begin before c1 ends.
  story.at(6s, lost(2), {"wake i3 for f4"});
}

// What it would leave over is not there yet: something that leaves has it.
TEST(RoomForAll, IsNotTakenByWhoseInstanceHasJustEndedFromTheFirstThatItIsEnoughFor) {
  Story story(node);
  Terms once = of(400 * mib);
  once.one_call = true;
  story.at(0s, added(1, of(600 * mib)));
  story.at(0s, added(2, once));
  story.at(0s, added(3, of(200 * mib)));
  story.call(0s, 1, {"wake i1 for f2"}, 2);
  story.at(1s, woke(1), {"c1 to i1"});
  story.at(2s, ended(1, 1s), {"drain i1"});
  story.at(2s, lost(1));
  story.call(2s, 2, {"wake i2 for f3"}, 3);
  story.call(2s, 3, {"wake i3 for f2"}, 2);
  story.at(3s, woke(2), {"c2 to i2"});
  story.at(3s, woke(3), {"c3 to i3"});
  story.at(4s, ended(2, 1s));
  story.call(4s, 4, {"drain i2"}, 1);
  story.call(4s, 5, {}, 2);
  story.at(4s, ended(3, 1s), {"drain i3"});
  story.at(4s, lost(3), {"wake i4 for f1"});
  story.at(4s, lost(2), {"wake i5 for f2"});
}

// A template goes with the last of its instances: with one more, it is nothing to count on.
TEST(RoomForAll, IsNotTakenByAForkWhoseTemplateTheFirstCountsOn) {
  Story story({.cpu_millicores = 2000, .memory_bytes = 1000 * mib});
  Terms forked = of(250 * mib);
  forked.instances_max = 4;
  story.at(0s, added(1, of(600 * mib)));
  story.at(0s, added(2, forked));
  story.at(0s, added(3, of(200 * mib)));
  story.call(0s, 1, {"wake i1 for f3"}, 3);
  story.at(100ms, woke(1), {"c1 to i1"});  // For long.
  story.call(1s, 2, {"wake i2 for f2"}, 2);
  const Resources template_holds{.memory_bytes = 150 * mib}, each{.memory_bytes = 100 * mib};
  story.at(1s, TemplateMade{FunctionKey{2}, template_holds, each});
  story.at(1100ms, woke(2), {"c2 to i2"});
  story.at(1200ms, ended(2, 100ms));
  story.call(1300ms, 3, {"c3 to i2"}, 2);
  story.call(1300ms, 4, {}, 1);
  story.call(1310ms, 5, {}, 2);  // Another one would fit, and keep the template.
}

TEST(RoomForAll, IsNotTakenByAMinimumWhileCallsWaitForIt) {
  Story story(node);
  story.at(0s, added(1, of(900 * mib)));
  story.at(0s, added(2, of(900 * mib)));
  story.awake(0s, 1, 1, 1, 1s);
  story.call(2s, 2, {"c2 to i1"}, 1);
  story.call(2s, 3, {}, 2);
  Terms kept = of(100 * mib);
  kept.instances_min = 1;
  story.at(2s, added(3, kept));
  story.at(3s, ended(2, 1s), {"drain i1"});
  story.at(3s, lost(1), {"wake i2 for f2", "wake i3 for f3"});
}

// What is forked holds little, but its template stays for as long as it does.
TEST(RoomForAll, IsNotTakenByAForkWhoseTemplateWouldKeepAnotherWaiting) {
  Story story(node);
  const Resources holds{.memory_bytes = 100 * mib};
  story.at(0s, added(1, of(900 * mib)));
  story.at(0s, added(2, of(924 * mib)));
  story.at(0s, added(3, of(110 * mib)));
  story.call(0s, 1, {"wake i1 for f3"}, 3);
  story.at(1s, TemplateMade{FunctionKey{3}, holds, {.memory_bytes = 10 * mib}});
  story.at(1s, woke(1), {"c1 to i1"});
  story.at(2s, ended(1));
  story.until(4s, {"drain i1"});
  story.at(4s, lost(1));
  story.awake(4s, 1, 2, 2, 1s);
  story.call(6s, 3, {"c3 to i2"}, 1);
  story.call(6s, 4, {}, 2);
  story.call(6s, 5, {}, 3);  // There is room for it now.
}

TEST(RoomForAll, ThatDidNotComeInTimeIsSaidInsteadOfATimeout) {
  Story story(node);
  add_three(story);
  story.call(0s, 1, {"wake i1 for f1"}, 1, 60s);
  story.at(1s, woke(1), {"c1 to i1"});
  story.call(2s, 2, {}, 2);
  story.call(3s, 3, {"wake i2 for f3"}, 3, 60s);
  story.until(32s, {"refuse c2 overloaded: the node's memory is held by others: one instance needs "
                    "900 MiB, 256 MiB of 1024 MiB are free (node.memory), retry after 1 s"});
}

TEST(RoomForAll, ThatIsKeptForAnotherIsSaid) {
  Story story(node);
  add_three(story);
  story.awake(0s, 1, 1, 1);
  story.call(1s, 2, {"c2 to i1"}, 1);
  story.call(1s, 3, {}, 2);
  story.call(1100ms, 4, {}, 3, 500ms);
  story.until(1600ms, {"refuse c4 overloaded: the node's memory is kept for a function that has "
                       "waited longer: one instance needs 256 MiB, 512 MiB of 1024 MiB are free "
                       "(node.memory), retry after 1 s"});
}

// Clients that call without a pause, for ever; one that is refused calls again.
class Loops {
 public:
  struct Seen {
    int calls = 0, refusals = 0;
    Duration longest_wait{};  // From one dispatch to the next, but for the run.
  };

  explicit Loops(std::int64_t memory_bytes)
      : state_({.cpu_millicores = 4000, .memory_bytes = memory_bytes}) {}

  void client(std::uint64_t function, std::int64_t memory_bytes, Duration from,
              std::vector<Duration> runs, Duration timeout = 10min) {
    functions_[FunctionKey{function}] = {std::move(runs), timeout, TimePoint(from)};
    happen(Added{FunctionKey{function}, of(memory_bytes)});
    arrive(FunctionKey{function}, TimePoint(from));
  }

  void one_more_caller(std::uint64_t function, Duration from) {
    arrive(FunctionKey{function}, TimePoint(from));
  }

  void until(Duration end) {
    while (true) {
      const TimePoint tick = next_tick(state_);
      const TimePoint own = due_.empty() ? never : due_.begin()->first;
      if (std::min(tick, own) > TimePoint(end)) break;
      now_ = std::min(tick, own);
      happen(tick <= own ? Event(Tick{}) : due_.extract(due_.begin()).mapped());
    }
    now_ = TimePoint(end);
    for (auto& [_, f] : functions_) waited(f);
  }

  Seen seen(std::uint64_t function) const { return functions_.at(FunctionKey{function}).seen; }

 private:
  struct Client {
    std::vector<Duration> runs;
    Duration timeout;
    TimePoint waits_since;
    Seen seen{};
  };

  void waited(Client& f) {
    f.seen.longest_wait = std::max(f.seen.longest_wait, now_ - f.waits_since);
  }

  void arrive(FunctionKey key, TimePoint at) {
    const CallKey call{++calls_made_};
    calls_[call] = key;
    due_.emplace(at, Arrived{call, key, at + functions_[key].timeout});
  }

  void happen(const Event& event) {
    if (const auto* over = std::get_if<Ended>(&event)) arrive(calls_[over->call], now_);
    Commands commands;
    step(state_, event, now_, commands);
    for (const Command& c : commands) {
      std::visit([this](const auto& each) { on(each); }, c);
    }
  }

  void on(const Wake& c) { due_.emplace(now_ + 20ms, Woke{c.instance}); }
  void on(const Stop& c) { due_.emplace(now_ + 5ms, Lost{c.instance}); }
  void on(const Refuse& c) {
    ++functions_[calls_[c.call]].seen.refusals;
    arrive(calls_[c.call], now_ + 100ms);
  }
  void on(const Dispatch& c) {
    Client& f = functions_[calls_[c.call]];
    waited(f);
    const Duration run = f.runs[std::size_t(f.seen.calls++) % f.runs.size()];
    f.waits_since = now_ + run;
    due_.emplace(f.waits_since, Ended{c.call, run, run / 10});
  }
  void on(const Abort&) { FAIL() << "nothing runs past its deadline here"; }
  void on(const DropTemplate&) { FAIL() << "there are none"; }

  State state_;
  TimePoint now_{};
  std::multimap<TimePoint, Event> due_;
  std::map<FunctionKey, Client> functions_;
  std::map<CallKey, FunctionKey> calls_;
  std::uint64_t calls_made_ = 0;
};

TEST(RoomForAll, IsNotTakenFromOneThatIsAwakeWhileALongCallHoldsTheRest) {
  Loops loops(gib);
  loops.client(1, 512 * mib, 0s, {24s});
  loops.client(3, 256 * mib, 0s, {100ms});
  loops.client(2, 900 * mib, 2s, {1s});
  loops.until(23s);
  EXPECT_GE(loops.seen(3).calls, 220);
  EXPECT_LE(loops.seen(3).longest_wait, 30ms);
  EXPECT_EQ(loops.seen(2).calls, 0);
  loops.until(25s);
  EXPECT_EQ(loops.seen(2).calls, 1);  // As soon as that one ended.
}

TEST(RoomForAll, ComesForALargeOneHoweverTheSmallOnesTakeTurns) {
  Loops loops(gib);
  for (std::uint64_t f = 2; f <= 5; ++f) loops.client(f, 256 * mib, f * 100ms, {100ms});
  loops.client(1, 900 * mib, 3s, {100ms});
  loops.until(100s);
  EXPECT_GE(loops.seen(1).calls, 30);
  EXPECT_LE(loops.seen(1).longest_wait, 2s);
  for (std::uint64_t f = 2; f <= 5; ++f) {
    EXPECT_GE(loops.seen(f).calls, 100) << f;
    EXPECT_LE(loops.seen(f).longest_wait, 2s) << f;
  }
}

TEST(RoomForAll, ComesForALargeOneThoughLongCallsOverlap) {
  Loops loops(gib);
  loops.client(1, 512 * mib, 0s, {24s});
  loops.client(2, 512 * mib, 12s, {24s, 20s});
  loops.client(3, 900 * mib, 20s, {100ms});
  loops.until(1000s);
  EXPECT_GE(loops.seen(3).calls, 8);
  EXPECT_LE(loops.seen(3).longest_wait, 5 * 24s);
}

// They look short most of the time, and its callers give up before its turn comes.
TEST(RoomForAll, ComesForALargeOneWhoseCallersAskAgainAndAgain) {
  Loops loops(gib);
  loops.client(1, 512 * mib, 0s, {10s, 10ms, 10ms, 10ms, 10ms, 10ms, 10ms});
  loops.client(2, 512 * mib, 5s, {10s, 10ms, 10ms, 10ms});
  loops.client(3, 900 * mib, 12s, {100ms}, 3s);
  loops.one_more_caller(3, 13s);
  loops.until(1000s);
  EXPECT_GE(loops.seen(3).calls, 20);
  EXPECT_GT(loops.seen(3).refusals, 0);
  EXPECT_LE(loops.seen(3).longest_wait, 5 * 10s);
}

}  // namespace
}  // namespace dormouse::scheduling
