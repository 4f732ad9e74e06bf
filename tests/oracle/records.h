// Where the oracle's evidence comes from: the ledger's segments, the store's sums, and text files.
#pragma once

#include <filesystem>

#include "invariants.h"

namespace dormouse::oracle {

Result<> read_ledger(const std::filesystem::path& dir, Evidence*);
// It must not be in use. A damaged database is unavailable, wherever the damage lies.
Result<> read_sums(const std::filesystem::path& database, Evidence*);
Result<> read_seen(const std::filesystem::path& file, Evidence*);
Result<> read_answered(const std::filesystem::path& file, Evidence*);

}  // namespace dormouse::oracle
