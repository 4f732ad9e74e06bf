#include "fleet/flow.h"

#include <utility>

namespace dormouse::fleet {

bool Flow::add(std::string_view piece) {
  if (piece.size() > credit_) return false;
  credit_ -= piece.size();
  response_bytes_ += piece.size();
  if (!piece.empty()) pieces_.emplace_back(piece);
  wake();
  return true;
}

asio::awaitable<Result<std::optional<std::string>>> Flow::take() {
  while (pieces_.empty()) {
    if (ended() && failure()) co_return *failure();
    if (ended()) co_return std::nullopt;
    auto waiting = woken();
    if (!co_await std::move(waiting)) co_return Error{Code::cancelled, "the client went away"};
  }
  std::string piece = std::move(pieces_.front());
  pieces_.pop_front();
  co_return piece;
}

}  // namespace dormouse::fleet
