// Work that goes on to its end though whoever awaits it is cancelled: what is in the store by then
// must also be done elsewhere. It is a task of the group's owner, who joins it.
#pragma once

#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/this_coro.hpp>
#include <memory>
#include <utility>

#include "async/one_shot.h"
#include "async/task_group.h"

namespace dormouse::async {

template <class T>
asio::awaitable<void> run_shielded(asio::awaitable<T> work, std::shared_ptr<OneShot<T>> done) {
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  auto result = co_await std::move(work);
  done->set(std::move(result));
}

template <class T>
asio::awaitable<T> shielded(TaskGroup* tasks, asio::awaitable<T> work) {
  const auto done = std::make_shared<OneShot<T>>();
  tasks->spawn(run_shielded(std::move(work), done));
  auto waiting = done->wait();
  co_return co_await std::move(waiting);
}

}  // namespace dormouse::async
