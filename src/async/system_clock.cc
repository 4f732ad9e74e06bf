#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "async/clock.h"

namespace dormouse::async {
namespace {

class SystemClock final : public Clock {
 public:
  TimePoint now() const override {
    const auto since = std::chrono::steady_clock::now().time_since_epoch();
    return TimePoint(std::chrono::duration_cast<Duration>(since));
  }

  WallTime wall() const override {
    const auto since = std::chrono::system_clock::now().time_since_epoch();
    return {std::chrono::duration_cast<std::chrono::milliseconds>(since).count()};
  }

  asio::awaitable<void> sleep_until(TimePoint when) override {
    const auto executor = co_await asio::this_coro::executor;
    asio::steady_timer alarm(
        executor, when == never ? asio::steady_timer::time_point::max()
                                : asio::steady_timer::time_point(when.time_since_epoch()));
    co_await alarm.async_wait(asio::use_awaitable);
  }
};

}  // namespace

std::unique_ptr<Clock> system_clock() {
  return std::make_unique<SystemClock>();
}

}  // namespace dormouse::async
