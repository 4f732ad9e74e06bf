// One SQLite database: its connection, its thread, its migrations, its transactions.
//
// WAL, synchronous=FULL. Exactly one connection exists, it alone writes and checkpoints (SQLite
// before 3.51.3 can corrupt a WAL otherwise); transactions that wait at the same time share one
// commit. The SQL lives in the module that owns the tables; handles stay in here.
//
// Threads    transact() may be awaited from any executor; `work` runs on the store's own thread.
// Errors     unavailable when the disk fails or is full. A failed commit means "unknown": after
//            one, the caller asks again with the same key. conflict: the file is not ours, or is
//            from a newer version (it is left untouched).
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "async/clock.h"
#include "base/result.h"

namespace dormouse::store {

using Value = std::variant<std::monostate, std::int64_t, std::string>;  // Text holds bytes too.
using Row = std::vector<Value>;

class Transaction {
 public:
  virtual ~Transaction() = default;
  // One statement with "?" for each argument. Gives all rows, at most `rows_max`.
  virtual Result<std::vector<Row>> run(std::string_view sql, std::vector<Value> arguments = {}) = 0;
  static constexpr std::size_t rows_max = 100'000;
};

// The n-th migration of a module (from 1) takes that module's tables from version n-1 to n, in one
// transaction. Modules count on their own, so that one may add a migration without the others.
struct Migration {
  std::string_view module;
  std::string_view sql;  // Several statements.
};

class Store {
 public:
  virtual ~Store() = default;
  // Runs `work` in a transaction: committed if it returns ok and rolled back if an Error. `work`
  // may be run only once, must not block on anything else, and must not throw.
  virtual asio::awaitable<Result<>> transact(std::function<Result<>(Transaction&)> work) = 0;
  // The same, blocking: for start-up, before there is a loop.
  virtual Result<> transact_now(const std::function<Result<>(Transaction&)>& work) = 0;
};

Result<std::unique_ptr<Store>> open(const std::filesystem::path& file,
                                    std::span<const Migration> migrations);

}  // namespace dormouse::store
