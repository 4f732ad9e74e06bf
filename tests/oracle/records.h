// Where the oracle's evidence comes from: the ledger's segments, the store's sums, and text files.
#pragma once

#include <filesystem>

#include "invariants.h"

namespace dormouse::oracle {

Result<> read_ledger(const std::filesystem::path& dir, Evidence*);
// Opened for reading only, so it must not be in use.
Result<> read_sums(const std::filesystem::path& database, Evidence*);
Result<> read_seen(const std::filesystem::path& file, Evidence*);
Result<> read_answered(const std::filesystem::path& file, Evidence*);

}  // namespace dormouse::oracle
