// A stream that answers a function's call, on its way to that function: as far as it gives credit,
// until it ends or nobody takes it any more. One waits at a time.
#pragma once

#include <cstddef>
#include <variant>

#include "async/doorbell.h"
#include "base/check.h"
#include "scheduling/scheduler.h"
#include "wire/frame.h"

namespace dormouse::fleet {

class Passing {
 public:
  explicit Passing(scheduling::CallKey caller) : caller_(caller) {}

  scheduling::CallKey caller() const { return caller_; }
  // Of the next frame's payload. A frame's header counts, too: many small ones wait as dearly.
  std::size_t room() const { return room_ > wire::header_size ? room_ - wire::header_size : 0; }

  void sent(std::size_t payload) {
    CHECK(payload <= room());
    room_ -= wire::header_size + payload;
  }
  // The function has taken so much, headers included. False: more than was sent.
  bool credit(std::size_t bytes) {
    if (bytes > wire::credit_window_bytes - room_) return false;
    room_ += bytes;
    changed_.ring();
    return true;
  }
  void give_up() {
    given_up_ = true;
    changed_.ring();
  }

  // Completes when there is room; false: nobody takes it, or the waiting coroutine was cancelled.
  asio::awaitable<bool> has_room() {
    while (room() == 0 && !given_up_) {
      auto waiting = changed_.rung();
      if (!co_await std::move(waiting)) co_return false;
    }
    co_return !given_up_;
  }
  // Completes when nobody takes it, or the waiting coroutine was cancelled.
  asio::awaitable<std::monostate> left() {
    while (!given_up_) {
      auto waiting = changed_.rung();
      if (!co_await std::move(waiting)) break;
    }
    co_return std::monostate();
  }

 private:
  const scheduling::CallKey caller_;
  std::size_t room_ = wire::credit_window_bytes;
  bool given_up_ = false;
  async::Doorbell changed_;
};

}  // namespace dormouse::fleet
