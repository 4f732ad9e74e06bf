// What passes between a worker that streams its answer and whoever reads it: at most one credit
// window of bytes, in order, and how it ended. Both sides run on one executor.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include "fleet/settlement.h"
#include "ledger/receipt.h"
#include "wire/frame.h"

namespace dormouse::fleet {

class Flow final : public Settlement {
 public:
  // False: the worker sent more than it had credit for.
  bool add(std::string_view piece);
  // What the worker has counted, with all pieces so far in it.
  void counted(const ledger::Tokens&);
  // All of what it has counted, or that of the pieces that the reader took.
  const ledger::Tokens& tokens_counted() const { return tokens_counted_; }
  const ledger::Tokens& tokens_taken() const { return tokens_taken_; }
  // The reader took so much. Gives what the worker is to be told that it may send again: by the
  // quarter of a window, not for every piece.
  std::size_t grant(std::size_t bytes);

  // The next piece, nullopt at the end, or what failed, as soon as that is known: await woken().
  bool has_next() const { return !pieces_.empty() || ended(); }
  Result<std::optional<std::string>> take();
  using Settlement::woken;

  std::uint64_t response_bytes() const override { return response_bytes_; }

 private:
  std::uint64_t response_bytes_ = 0;
  struct Piece {
    std::string bytes;
    std::optional<ledger::Tokens> tokens;  // Up to and with this piece, if that was said.
  };
  std::deque<Piece> pieces_;
  ledger::Tokens tokens_counted_, tokens_taken_;
  std::size_t credit_ = wire::credit_window_bytes;
  std::size_t granted_ = 0;  // Of what was taken, and not yet told.
};

}  // namespace dormouse::fleet
