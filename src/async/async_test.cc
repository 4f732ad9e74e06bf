#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <numeric>
#include <thread>

#include "async/before.h"
#include "async/gathered.h"
#include "async/one_shot.h"
#include "async/sim_clock.h"
#include "async/task_group.h"
#include "async/thread.h"

namespace dormouse::async {
namespace {

using namespace std::chrono_literals;

asio::awaitable<Result<int>> answer_after(Clock* clock, Duration delay) {
  co_await clock->sleep_until(clock->now() + delay);
  co_return 42;
}

Result<int> race(Duration work, Duration limit) {
  asio::io_context io;
  SimClock clock(io);
  auto raced = before(&clock, TimePoint(limit), answer_after(&clock, work), Code::overloaded);
  auto result = asio::co_spawn(io, std::move(raced), asio::use_future);
  clock.run_until(TimePoint(1h));
  return result.get();
}

TEST(Before, GivesTheAnswerThatComesInTime) {
  EXPECT_EQ(race(1s, 2s), 42);
}

TEST(Before, NamesTheCallersCodeWhenItIsLate) {
  EXPECT_EQ(race(2s, 1s).error(), (Error{Code::overloaded, "timed out"}));
}

asio::awaitable<void> count_when_set(OneShot<int>* shot, int* sum) {
  auto on_cancel = [shot] { shot->set(-1); };
  auto waiting = shot->wait(on_cancel);
  *sum += co_await std::move(waiting);
}

TEST(OneShot, ResumesItsWaiterWithTheValue) {
  asio::io_context io;
  TaskGroup group(io.get_executor());
  OneShot<int> early, late;
  int sum = 0;
  early.set(40);
  group.spawn(count_when_set(&early, &sum));
  group.spawn(count_when_set(&late, &sum));
  io.poll();
  EXPECT_EQ(sum, 40);
  EXPECT_EQ(group.size(), 1u);
  late.set(2);
  EXPECT_EQ(sum, 42);
}

TEST(TaskGroup, JoinsWhatItCancels) {
  asio::io_context io;
  SimClock clock(io);
  TaskGroup group(io.get_executor());
  OneShot<int> shot;
  int sum = 0;
  group.spawn(clock.sleep_until(never));
  group.spawn(count_when_set(&shot, &sum));
  io.poll();
  EXPECT_EQ(group.size(), 2u);
  bool joined = false;
  group.cancel();
  auto note = [&joined](std::exception_ptr) { joined = true; };
  asio::co_spawn(io, group.join(), note);
  io.restart();
  io.poll();
  EXPECT_TRUE(joined);
  EXPECT_EQ(sum, -1);  // The waiter was told, and ended in its own way.
}

asio::awaitable<void> wait_with_deadline(Clock* clock) {
  auto work = answer_after(clock, 1h);
  (void)co_await before(clock, TimePoint(2h), std::move(work), Code::overloaded);
}

TEST(TaskGroup, CancelsATaskThatWaitsBeforeADeadline) {
  asio::io_context io;
  SimClock clock(io);
  TaskGroup group(io.get_executor());
  group.spawn(wait_with_deadline(&clock));
  io.poll();
  group.cancel();
  io.restart();
  io.poll();  // It unwinds as from a plain wait, with operation_aborted: anything else stops here.
  EXPECT_EQ(group.size(), 0u);
}

TEST(Thread, WorksElsewhereAndResumesHere) {
  asio::io_context io;
  Thread thread("test");
  std::thread::id worked, resumed;
  auto body = [](Thread* t, std::thread::id* w, std::thread::id* r) -> asio::awaitable<int> {
    auto work = [w]() -> Result<int> {
      *w = std::this_thread::get_id();
      return 7;
    };
    const Result<int> value = co_await t->run(std::move(work));
    *r = std::this_thread::get_id();
    co_return *value;
  };
  auto result = asio::co_spawn(io, body(&thread, &worked, &resumed), asio::use_future);
  io.run();
  EXPECT_EQ(result.get(), 7);
  EXPECT_NE(worked, std::this_thread::get_id());
  EXPECT_EQ(resumed, std::this_thread::get_id());
}

TEST(Gathered, TellsOfTheFirstSinceTheLastTake) {
  Gathered<int> gathered;
  EXPECT_TRUE(gathered.add(1));
  EXPECT_FALSE(gathered.add(2));
  EXPECT_EQ(gathered.take(), (std::vector<int>{1, 2}));
  EXPECT_TRUE(gathered.take().empty());
  EXPECT_TRUE(gathered.add(3));
}

TEST(Gathered, LosesNothingBetweenThreads) {
  Gathered<int> gathered;
  constexpr int things = 10'000;
  std::vector<int> taken;
  {
    Thread thread("test");
    for (int i = 0; i < things; ++i) {
      if (!gathered.add(i)) continue;
      thread.give([&] {
        for (const int each : gathered.take()) taken.push_back(each);
      });
    }
  }
  std::vector<int> all(things);
  std::iota(all.begin(), all.end(), 0);
  EXPECT_EQ(taken, all);
}

TEST(Thread, FinishesWhatItWasGivenBeforeItIsGone) {
  int done = 0;
  {
    Thread thread("test");
    for (int i = 0; i < 100; ++i) thread.give([&done] { ++done; });
  }
  EXPECT_EQ(done, 100);
}

}  // namespace
}  // namespace dormouse::async
