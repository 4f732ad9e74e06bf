// The sums of receipts: as a delta in memory and as rows in the store. Exact: what does not fit in
// 64 bits is an Error.
#pragma once

#include <map>

#include "ledger/ledger.h"
#include "ledger/segment.h"

namespace dormouse::ledger {

struct SumKey {
  std::string tenant;
  std::string function;
  std::int32_t revision = 0;
  std::int64_t hour = 0;  // Since 1970, of the attempt's beginning.
  friend auto operator<=>(const SumKey&, const SumKey&) = default;
};
using Sums = std::map<SumKey, Sum>;

constexpr std::int64_t hour_of(std::int64_t unix_ms) {
  constexpr std::int64_t hour_ms = 3'600'000;
  return unix_ms / hour_ms - (unix_ms % hour_ms < 0);
}

Result<> add(Sum& to, const Sum& more);
Result<> add(Sums& to, const Sums& more);
Result<> add(Sums& to, const EndedRecord&, const Subject&);

// Up to where in the log the rows count.
struct Position {
  std::uint32_t segment = 0;
  std::uint64_t offset = 0;
  Chain chain{};
  friend bool operator==(const Position&, const Position&) = default;
};

Result<Position> read_position(store::Transaction&);  // {} if there is none.
// conflict if the rows do not stand at `from`.
Result<> write_sums(store::Transaction&, const Sums&, const Position& from, const Position& to);
// Forgets rows from `hour` on, and the position.
Result<> clear_sums(store::Transaction&, std::int64_t hour);
Result<std::vector<Sum>> read_sums(store::Transaction&, const Query&);

// Adds to the store's rows, as read_sums() gives them, what they lack.
Result<std::vector<Sum>> merge(const std::vector<Sum>& rows, const Sums& missing, const Query&);

}  // namespace dormouse::ledger
