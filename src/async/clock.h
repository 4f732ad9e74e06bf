// The only way code that does I/O learns the time or waits for it to pass.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <memory>

#include "base/time.h"

namespace dormouse {
namespace asio = boost::asio;
}

namespace dormouse::async {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint now() const = 0;
  virtual WallTime wall() const = 0;

  // Completes once now() >= `when`. Cancelling the waiting coroutine unwinds it, as in all of Asio,
  // so code after a sleep may rely on the time having passed.
  virtual asio::awaitable<void> sleep_until(TimePoint when) = 0;
};

// The machine's own clock. Its timers run on the executor of whoever waits.
std::unique_ptr<Clock> system_clock();

}  // namespace dormouse::async
