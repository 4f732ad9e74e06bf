// A Clock for tests: time stands still until no coroutine can run, then jumps to the next wake-up.
// An hour of it takes milliseconds, and two runs of a test see the same events in the same order.
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <map>

#include "async/clock.h"

namespace dormouse::async {

class SimClock final : public Clock {
 public:
  explicit SimClock(asio::io_context& io) : io_(io) {}

  TimePoint now() const override { return now_; }
  WallTime wall() const override {
    return {wall_start_ms + now_.time_since_epoch() / std::chrono::milliseconds(1)};
  }

  asio::awaitable<void> sleep_until(TimePoint when) override {
    if (when <= now_) co_return;
    asio::steady_timer alarm(io_, asio::steady_timer::time_point::max());
    const auto entry = alarms_.emplace(when, &alarm);
    co_await alarm.async_wait(asio::as_tuple(asio::use_awaitable));
    alarms_.erase(entry);
    if (now_ < when) throw boost::system::system_error(asio::error::operation_aborted);
  }

  void run_until(TimePoint end) {
    for (;;) {
      io_.restart();
      io_.poll();
      const auto next = alarms_.lower_bound(now_ + Duration(1));
      if (next == alarms_.end() || next->first > end) break;
      now_ = next->first;
      for (auto [it, last] = alarms_.equal_range(now_); it != last; ++it) it->second->cancel();
    }
    now_ = end;
  }

 private:
  static constexpr std::int64_t wall_start_ms = 1'700'000'000'000;
  asio::io_context& io_;
  TimePoint now_{};
  std::multimap<TimePoint, asio::steady_timer*> alarms_;
};

}  // namespace dormouse::async
