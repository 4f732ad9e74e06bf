// A value that one coroutine waits for and somebody else sets, once.
//
// The waiter resumes inside set(), on the caller's stack, so set() is the last thing its caller
// does with whatever the waiter may touch. Both sides run on one executor.
#pragma once

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "async/clock.h"
#include "base/check.h"

namespace dormouse::async {

template <class T>
class OneShot {
 public:
  OneShot() = default;
  OneShot(const OneShot&) = delete;
  OneShot& operator=(const OneShot&) = delete;

  void set(T value) {
    CHECK(!value_);
    if (!waiter_) {
      value_.emplace(std::move(value));
      return;
    }
    const auto waiter = std::move(waiter_);
    waiter->resume(std::move(value));
  }

  // `on_cancel` is called when the waiting coroutine is cancelled, which goes on waiting: it must
  // see to it that set() follows. One waiter at a time, which awaits before anybody can set().
  asio::awaitable<T> wait(std::function<void()> on_cancel = {}) {
    if (value_) return taken();
    auto start = [this, on_cancel = std::move(on_cancel)](auto resume) mutable {
      auto slot = asio::get_associated_cancellation_slot(resume);
      if (on_cancel && slot.is_connected()) {
        slot.assign([on_cancel = std::move(on_cancel)](asio::cancellation_type) { on_cancel(); });
      }
      CHECK(!value_);
      waiter_ = std::make_unique<Typed<decltype(resume)>>(std::move(resume));
    };
    return asio::async_initiate<const asio::use_awaitable_t<>, void(T)>(std::move(start),
                                                                        asio::use_awaitable);
  }

 private:
  asio::awaitable<T> taken() { co_return *std::exchange(value_, std::nullopt); }

  struct Waiter {
    virtual ~Waiter() = default;
    virtual void resume(T) = 0;
  };
  template <class Handler>
  struct Typed final : Waiter {
    explicit Typed(Handler handler) : handler_(std::move(handler)) {}
    void resume(T value) override {
      asio::get_associated_cancellation_slot(handler_).clear();
      std::move(handler_)(std::move(value));
    }
    Handler handler_;
  };

  std::optional<T> value_;
  std::unique_ptr<Waiter> waiter_;
};

}  // namespace dormouse::async
