#include "fleet/flow.h"

#include <utility>

namespace dormouse::fleet {

bool Flow::add(std::string_view piece) {
  if (piece.size() > credit_) return false;
  credit_ -= piece.size();
  bytes_total_ += piece.size();
  if (!piece.empty()) pieces_.emplace_back(piece);
  wake_reader();
  return true;
}

void Flow::finish(std::optional<Error> failure, std::optional<ledger::Receipt> receipt) {
  finished_ = true;
  failure_ = std::move(failure);
  receipt_ = std::move(receipt);
}

void Flow::withhold(Error why) {
  failure_ = std::move(why);
  receipt_.reset();
}

void Flow::end() {
  ended_ = true;
  wake_reader();
}

asio::awaitable<Result<std::optional<std::string>>> Flow::take() {
  while (pieces_.empty()) {
    if (ended_ && failure_) co_return *failure_;
    if (ended_) co_return std::nullopt;
    const auto waiter = std::make_shared<async::OneShot<bool>>();
    reader_ = waiter;
    auto waiting = waiter->wait([this, waiter] {
      reader_.reset();
      waiter->set(false);
    });
    if (!co_await std::move(waiting)) co_return Error{Code::cancelled, "the client went away"};
  }
  std::string piece = std::move(pieces_.front());
  pieces_.pop_front();
  co_return piece;
}

void Flow::wake_reader() {
  if (const auto waiter = std::exchange(reader_, nullptr)) waiter->set(true);
}

}  // namespace dormouse::fleet
