// The log of all receipts: what was begun, what came of it, and what it cost.
//
// begin() and end() only add to a batch; flush() puts it on record, where it outlives this process:
// in the log's tail, which is memory of a file, or, without one, in the segment with one write. The
// fleet flushes once per turn of its loop, before the frames and answers that depend on it leave.
// What the tail has is written to the segment, and that synced, within 100 ms, while there is
// something to sync, on a thread of their own. Records are checksummed and chained by hash, so that
// a torn or altered one is found.
//
// At open() a segment's torn end is cut off, and every `begun` without `ended` becomes a receipt
// `interrupted`, the platform's fault, price 0. Sums (function, revision, hour) are kept in the
// store, as a cache that is rebuilt from the segments whenever it does not agree with them.
//
// Threads    One executor.
// Errors     flush(): unavailable when the disk fails; nothing of the batch may be answered then.
//            With a tail a full disk shows at the first flush() after it was to be written.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "async/clock.h"
#include "ledger/receipt.h"
#include "store/store.h"

namespace dormouse::ledger {

struct Sum {
  std::string function;  // "" where not asked by function.
  std::int64_t calls = 0;
  std::int64_t failed = 0;  // By the function's or the platform's fault.
  std::int64_t billed_ms = 0;
  std::int64_t mib_ms = 0;
  PicoUnits price;
  Tokens tokens{};
  friend bool operator==(const Sum&, const Sum&) = default;
};

struct Query {
  WallTime since;        // Rounded down to the hour.
  std::string function;  // "": all of them.
  bool by_function = true;
};

class Ledger {
 public:
  virtual ~Ledger() = default;
  virtual void begin(const Begun&) = 0;
  virtual void end(const Receipt&) = 0;
  virtual Result<> flush() = 0;
  virtual bool needs_flush() const = 0;

  // The receipt of an attempt; nullopt if there is none (yet). Reads a segment, on the thread.
  virtual asio::awaitable<Result<std::optional<Receipt>>> find(Key) = 0;
  virtual asio::awaitable<Result<std::vector<Sum>>> usage(Query) = 0;
  virtual asio::awaitable<Result<>> close() = 0;  // Flushes, syncs, joins.
};

struct Options {
  std::filesystem::path dir;
  std::uint64_t segment_bytes_max = 64 << 20;
  bool has_tail = true;  // Where the file system is known to be good for one.
  Duration sync_every = std::chrono::milliseconds(25);  // So that all is synced within 100.
  std::int64_t keep_ms = std::int64_t{90} * 24 * 3600 * 1000;
};
std::span<const store::Migration> migrations();
Result<std::unique_ptr<Ledger>> open(asio::any_io_executor, async::Clock*, store::Store*, Options);

// Reads whole segments in order, verifying each record and the chain; for the oracle and `doctor`.
using Visit = std::function<void(const Begun*, const Receipt*)>;
Result<> read_all(const std::filesystem::path& dir, const Visit&);

}  // namespace dormouse::ledger
