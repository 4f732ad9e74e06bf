#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <thread>

#include "async/before.h"
#include "async/sim_clock.h"
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

TEST(Thread, WorksElsewhereAndResumesHere) {
  asio::io_context io;
  Thread thread;
  std::thread::id worked, resumed;
  auto body = [](Thread* t, std::thread::id* w, std::thread::id* r) -> asio::awaitable<int> {
    const Result<int> value = co_await t->run([w]() -> Result<int> {
      *w = std::this_thread::get_id();
      return 7;
    });
    *r = std::this_thread::get_id();
    co_return *value;
  };
  auto result = asio::co_spawn(io, body(&thread, &worked, &resumed), asio::use_future);
  io.run();
  EXPECT_EQ(result.get(), 7);
  EXPECT_NE(worked, std::this_thread::get_id());
  EXPECT_EQ(resumed, std::this_thread::get_id());
}

}  // namespace
}  // namespace dormouse::async
