// The coroutines that an object has running in the background: owned, cancelled and joined with it.
//
// Ownership  A task may use what its owner owns: the owner calls cancel() and awaits join() before
//            it dies. Tasks end by returning, or by the cancellation that unwinds them; any other
//            exception is a bug of ours and stops the process.
// Threads    One executor: the one it is given, on which tasks run.
#pragma once

#include <algorithm>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <list>
#include <memory>
#include <vector>

#include "async/clock.h"
#include "base/check.h"

namespace dormouse::async {

class TaskGroup {
 public:
  explicit TaskGroup(asio::any_io_executor executor)
      : executor_(executor), state_(std::make_shared<State>(executor)) {}
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  void spawn(asio::awaitable<void> task) {
    state_->signals.emplace_back();
    const auto here = std::prev(state_->signals.end());
    // What emit() posted may still touch the signal: it goes after that.
    auto ended = [state = state_, here, executor = executor_](std::exception_ptr failure) {
      if (failure) expect_cancelled(failure);
      asio::post(executor, [state, here] {
        state->signals.erase(here);
        if (state->signals.empty()) state->empty.cancel();
      });
    };
    asio::co_spawn(executor_, std::move(task),
                   asio::bind_cancellation_slot(here->slot(), std::move(ended)));
  }

  // Asks every task to unwind; those that have not begun included.
  void cancel() {
    std::vector<asio::cancellation_signal*> all;
    for (asio::cancellation_signal& signal : state_->signals) all.push_back(&signal);
    for (asio::cancellation_signal* signal : all) {
      const bool there =
          std::ranges::any_of(state_->signals, [&](auto& known) { return &known == signal; });
      if (there) signal->emit(asio::cancellation_type::terminal);
    }
  }

  asio::awaitable<void> join() {
    const auto state = state_;
    while (!state->signals.empty()) {
      co_await state->empty.async_wait(asio::as_tuple(asio::use_awaitable));
    }
  }

  std::size_t size() const { return state_->signals.size(); }

 private:
  struct State {
    explicit State(const asio::any_io_executor& executor)
        : empty(executor, asio::steady_timer::time_point::max()) {}
    std::list<asio::cancellation_signal> signals;
    asio::steady_timer empty;  // Cancelled when the last task ends.
  };

  static void expect_cancelled(const std::exception_ptr& failure) {
    try {
      std::rethrow_exception(failure);
    } catch (const boost::system::system_error& error) {
      CHECK(error.code() == asio::error::operation_aborted);
    }
  }

  asio::any_io_executor executor_;
  std::shared_ptr<State> state_;
};

}  // namespace dormouse::async
