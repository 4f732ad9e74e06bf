#include "http/alarm.h"

#include <boost/asio/this_coro.hpp>
#include <boost/system/system_error.hpp>

namespace dormouse::http {

asio::awaitable<void> Alarm::sleep(TimePoint when) {
  rings_at_ = when;
  co_await asio::this_coro::throw_if_cancelled(false);
  while (clock_->now() < rings_at_) {
    co_await asio::this_coro::reset_cancellation_state();
    try {
      co_await clock_->sleep_until(rings_at_);
    } catch (const boost::system::system_error&) {
      // Cut short by ring_by(): look at the time again.
    }
  }
  rings_at_ = TimePoint::min();
}

void Alarm::ring_by(TimePoint when) {
  if (when >= rings_at_) return;
  rings_at_ = when;
  cut_short_.emit(asio::cancellation_type::terminal);
}

}  // namespace dormouse::http
