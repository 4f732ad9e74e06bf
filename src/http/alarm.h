// A sleep whose end can be moved closer by whoever learns of something more urgent.
//
// Threads    One executor. One coroutine sleeps on it, which must have been spawned with slot()
//            bound as its cancellation slot.
#pragma once

#include <boost/asio/cancellation_signal.hpp>

#include "async/clock.h"

namespace dormouse::http {

class Alarm {
 public:
  explicit Alarm(async::Clock* clock) : clock_(clock) {}

  // Completes at `when`, or earlier if ring_by() said so meanwhile.
  asio::awaitable<void> sleep(TimePoint when);
  void ring_by(TimePoint when);
  asio::cancellation_slot slot() { return cut_short_.slot(); }

 private:
  async::Clock* clock_;
  asio::cancellation_signal cut_short_;
  TimePoint rings_at_ = TimePoint::min();  // Awake: nothing to move closer.
};

}  // namespace dormouse::http
