#include "fleet/settlement.h"

#include <utility>

namespace dormouse::fleet {

void Settlement::finish(std::optional<Error> failure, std::optional<ledger::Receipt> receipt) {
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

asio::awaitable<bool> Settlement::woken() {
  const auto waiter = std::make_shared<async::OneShot<bool>>();
  waiter_ = waiter;
  auto waiting = waiter->wait([this, waiter] {
    waiter_.reset();
    waiter->set(false);
  });
  co_return co_await std::move(waiting);
}

void Settlement::wake() {
  if (const auto waiter = std::exchange(waiter_, nullptr)) waiter->set(true);
}

asio::awaitable<void> Settlement::recorded() {
  while (!ended()) {
    auto waiting = woken();
    if (!co_await std::move(waiting)) co_return;
  }
}

}  // namespace dormouse::fleet
