#include "fleet/settlement.h"

#include <utility>

namespace dormouse::fleet {

void Settlement::finish(std::optional<Error> failure, ledger::ReceiptPtr receipt) {
  finished_ = true;
  failure_ = std::move(failure);
  receipt_ = std::move(receipt);
}

void Settlement::withhold(Error why) {
  failure_ = std::move(why);
  receipt_.reset();
}

void Settlement::end() {
  ended_ = true;
  told();
  wake();
}

asio::awaitable<void> Settlement::recorded() {
  while (!ended()) {
    auto waiting = woken();
    if (!co_await std::move(waiting)) co_return;
  }
}

}  // namespace dormouse::fleet
