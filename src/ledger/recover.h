// What a ledger finds in its folder when it is opened, after a torn end was cut off.
#pragma once

#include <map>

#include "ledger/file.h"
#include "ledger/segment.h"
#include "ledger/sums.h"

namespace dormouse::ledger {

// A finished segment: found by the times in the ids of its receipts.
struct Sealed {
  std::uint32_t number = 0;
  std::filesystem::path path;
  std::int64_t first_ms = 0;
  std::int64_t last_ms = 0;
};

// The segment that is being written.
struct Active {
  std::shared_ptr<File> file;
  std::filesystem::path path;
  std::uint32_t number = 0;
  std::uint64_t size = 0;
  Chain chain{};
  Contents contents;
  Position position() const { return {number, size, chain}; }
};

using OpenAttempts = std::map<Key, BegunRecord>;

struct Recovered {
  std::vector<Sealed> sealed;
  std::optional<Active> active;   // nullopt: the next one is to be created.
  std::vector<Subject> subjects;  // Of the attempts below.
  OpenAttempts open;              // Begun and not ended.
  std::optional<Chain> chain;     // After the last batch.
  std::uint32_t next_number = 1;
  Position written;      // Where the store's sums stand,
  Sums unwritten;        // what came after it in the log,
  bool rebuild = false;  // unless they do not fit the log: then `unwritten` is all of it.
  std::int64_t first_hour = 0;
};

// Writes to its segment what the tail has and that has not. Before recover().
Result<> write_what_is_left(const std::filesystem::path& dir);
Result<Recovered> recover(const std::filesystem::path& dir, const Position& written);
Result<IndexRecord> read_index(const std::filesystem::path& sealed);

// Looks for a receipt where the index says it may be; `index.offset` is where the receipts end.
Result<std::optional<Receipt>> find_in(const std::filesystem::path& segment,
                                       const IndexRecord& index, const Key& key);

}  // namespace dormouse::ledger
