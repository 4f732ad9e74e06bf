#include "scheduling/scheduler.h"

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

}  // namespace
}  // namespace dormouse::scheduling
