// How a program ended, told once to whoever waits, however often and late they ask.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <memory>
#include <optional>

#include "sandbox/sandbox.h"

namespace dormouse::sandbox {

class EndSignal {
 public:
  explicit EndSignal(const asio::any_io_executor& executor)
      : alarm_(executor, asio::steady_timer::time_point::max()) {}

  bool given() const { return ended_.has_value(); }
  void give(Ended ended) {
    if (ended_) return;
    ended_ = ended;
    alarm_.cancel();
  }

  // Keeps itself alive, so that the waiter may outlast the sandbox it asked.
  static asio::awaitable<Ended> wait(std::shared_ptr<EndSignal> self) {
    while (!self->ended_) co_await self->alarm_.async_wait(asio::as_tuple(asio::use_awaitable));
    co_return *self->ended_;
  }

 private:
  std::optional<Ended> ended_;
  asio::steady_timer alarm_;
};

}  // namespace dormouse::sandbox
