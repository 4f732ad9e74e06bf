#include "fleet/flow.h"

#include <utility>

#include "base/check.h"

namespace dormouse::fleet {

bool Flow::add(std::string_view piece) {
  if (piece.size() > credit_) return false;
  credit_ -= piece.size();
  response_bytes_ += piece.size();
  // A piece takes some memory of its own: small ones wait together, but for those that count
  // tokens.
  constexpr std::size_t small = 4096;
  const bool joins = !pieces_.empty() && !pieces_.back().tokens &&
                     pieces_.back().bytes.size() + piece.size() <= small;
  if (joins) {
    pieces_.back().bytes += piece;
  } else if (!piece.empty()) {
    pieces_.push_back({std::string(piece), {}});
  }
  wake();
  return true;
}

void Flow::counted(const ledger::Tokens& tokens) {
  tokens_counted_ = tokens;
  if (pieces_.empty()) {
    tokens_taken_ = tokens;
  } else {
    pieces_.back().tokens = tokens;
  }
}

std::size_t Flow::grant(std::size_t bytes) {
  granted_ += bytes;
  if (granted_ < wire::credit_window_bytes / 4) return 0;
  credit_ += granted_;
  return std::exchange(granted_, 0);
}

Result<std::optional<std::string>> Flow::take() {
  CHECK(has_next());
  if (pieces_.empty() && failure()) return *failure();
  if (pieces_.empty()) return std::nullopt;
  Piece piece = std::move(pieces_.front());
  pieces_.pop_front();
  if (piece.tokens) tokens_taken_ = *piece.tokens;
  return std::move(piece.bytes);
}

}  // namespace dormouse::fleet
