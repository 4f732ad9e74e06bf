// What passes between a worker that streams its answer and whoever reads it: at most one credit
// window of bytes, in order, and how it ended. Both sides run on one executor.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "async/one_shot.h"
#include "fleet/fleet.h"
#include "wire/frame.h"

namespace dormouse::fleet {

class Flow {
 public:
  // False: the worker sent more than it had credit for.
  bool add(std::string_view piece);
  // Gives the worker's credit back; the reader took so much.
  void granted(std::size_t bytes) { credit_ += bytes; }

  // How it ended. The reader learns of it at end(), once the receipt is on record.
  void finish(std::optional<Error> failure, std::optional<ledger::Receipt>);
  void withhold(Error why);  // Instead of what finish() said: the receipt could not be written.
  void end();

  // The next piece, or nullopt at the end.
  asio::awaitable<Result<std::optional<std::string>>> take();

  bool finished() const { return finished_; }
  std::uint64_t bytes_total() const { return bytes_total_; }
  const std::optional<ledger::Receipt>& receipt() const { return receipt_; }

 private:
  void wake_reader();

  std::deque<std::string> pieces_;
  std::size_t credit_ = wire::credit_window_bytes;
  std::uint64_t bytes_total_ = 0;
  bool finished_ = false;
  bool ended_ = false;
  std::optional<Error> failure_;
  std::optional<ledger::Receipt> receipt_;
  std::shared_ptr<async::OneShot<bool>> reader_;
};

}  // namespace dormouse::fleet
