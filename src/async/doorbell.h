// What one coroutine waits for again and again, and others ring.
//
// Whoever waits resumes inside ring(), on the caller's stack, so ring() is the last thing its
// caller does with whatever the waiter may touch. Both sides run on one executor.
#pragma once

#include <memory>
#include <utility>

#include "async/one_shot.h"

namespace dormouse::async {

class Doorbell {
 public:
  // Completes when it is rung; false: the waiting coroutine was cancelled. One waits at a time.
  asio::awaitable<bool> rung() {
    const auto waiter = std::make_shared<OneShot<bool>>();
    waiter_ = waiter;
    auto waiting = waiter->wait([this, waiter] {
      waiter_.reset();
      waiter->set(false);
    });
    co_return co_await std::move(waiting);
  }

  void ring() {
    if (const auto waiter = std::exchange(waiter_, nullptr)) waiter->set(true);
  }

 private:
  std::shared_ptr<OneShot<bool>> waiter_;
};

}  // namespace dormouse::async
