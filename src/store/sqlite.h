// One connection to SQLite as values and Results. For store's own .cc files and tests.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "store/store.h"

struct sqlite3;
struct sqlite3_stmt;

namespace dormouse::store {

struct CloseDatabase {
  void operator()(sqlite3*) const;
};
struct FinalizeStatement {
  void operator()(sqlite3_stmt*) const;
};

class Connection final : public Transaction {
 public:
  static Result<std::unique_ptr<Connection>> open(const std::filesystem::path& file);

  Result<std::vector<Row>> run(std::string_view sql, std::vector<Value> arguments) override;
  Result<> run_all(std::string_view sql);  // Several statements, no arguments, no rows.
  Result<std::int64_t> number(std::string_view sql);
  bool in_transaction() const;
  // Until told otherwise, closing leaves the files exactly as they were found.
  void checkpoint_on_close();

 private:
  using Statement = std::unique_ptr<sqlite3_stmt, FinalizeStatement>;
  static constexpr std::size_t statements_max = 256;

  explicit Connection(sqlite3* database) : database_(database) {}
  Result<sqlite3_stmt*> prepared(std::string_view sql);
  Error error(std::string_view attempt) const;

  std::unique_ptr<sqlite3, CloseDatabase> database_;
  std::unordered_map<std::string, Statement> statements_;  // Goes before the database does.
};

}  // namespace dormouse::store
