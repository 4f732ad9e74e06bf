// How a call ended whose answer was under way before that: noted when it happens, told once its
// receipt is on record.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "async/doorbell.h"
#include "base/result.h"
#include "ledger/receipt.h"

namespace dormouse::fleet {

class Settlement {
 public:
  Settlement() = default;
  virtual ~Settlement() = default;
  Settlement(const Settlement&) = delete;
  Settlement& operator=(const Settlement&) = delete;

  void finish(std::optional<Error> failure, ledger::ReceiptPtr receipt);
  void withhold(Error why);  // Instead of what finish() said: the receipt could not be written.
  void end();                // It is on record.

  // Completes once it has ended; at once if the waiting coroutine is cancelled.
  asio::awaitable<void> recorded();

  bool finished() const { return finished_; }
  bool ended() const { return ended_; }
  const std::optional<Error>& failure() const { return failure_; }
  const ledger::ReceiptPtr& receipt() const { return receipt_; }
  virtual std::uint64_t request_bytes() const { return 0; }  // Beyond the invocation's own.
  virtual std::uint64_t response_bytes() const = 0;          // So far.

 protected:
  // Completes when wake() is called; false: the waiting coroutine was cancelled.
  asio::awaitable<bool> woken() { return bell_.rung(); }
  void wake() { bell_.ring(); }
  virtual void told() {}  // In end(), before whoever waits is woken.

 private:
  bool finished_ = false;
  bool ended_ = false;
  std::optional<Error> failure_;
  ledger::ReceiptPtr receipt_;
  async::Doorbell bell_;
};

}  // namespace dormouse::fleet
