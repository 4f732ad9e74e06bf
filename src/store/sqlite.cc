#include "store/sqlite.h"

#include <sqlite3.h>
#include <sys/stat.h>

namespace dormouse::store {
namespace {

constexpr int busy_wait_ms = 1000;

Code code_of(int sqlite_code) {
  switch (sqlite_code & 0xFF) {
    case SQLITE_CONSTRAINT:
    case SQLITE_NOTADB:
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return Code::conflict;
    case SQLITE_TOOBIG: return Code::too_large;
    default: return Code::unavailable;
  }
}

int bind(sqlite3_stmt* statement, int at, const Value& value) {
  if (const auto* number = std::get_if<std::int64_t>(&value)) {
    return sqlite3_bind_int64(statement, at, *number);
  }
  if (const auto* text = std::get_if<std::string>(&value)) {
    return sqlite3_bind_text64(statement, at, text->data(), text->size(), SQLITE_STATIC,
                               SQLITE_UTF8);
  }
  return sqlite3_bind_null(statement, at);
}

Value column(sqlite3_stmt* statement, int at) {
  switch (sqlite3_column_type(statement, at)) {
    case SQLITE_NULL: return {};
    case SQLITE_INTEGER: return std::int64_t{sqlite3_column_int64(statement, at)};
    default: {
      const void* bytes = sqlite3_column_blob(statement, at);
      const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement, at));
      return std::string(static_cast<const char*>(bytes), bytes ? size : 0);
    }
  }
}

Row row_of(sqlite3_stmt* statement) {
  Row row;
  const int columns = sqlite3_column_count(statement);
  row.reserve(static_cast<std::size_t>(columns));
  for (int i = 0; i < columns; ++i) row.push_back(column(statement, i));
  return row;
}

// A cached statement must be left without arguments or a read position, however its run ended.
struct Reset {
  sqlite3_stmt* statement;
  ~Reset() {
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
  }
};

}  // namespace

void CloseDatabase::operator()(sqlite3* database) const {
  sqlite3_close_v2(database);
}
void FinalizeStatement::operator()(sqlite3_stmt* statement) const {
  sqlite3_finalize(statement);
}

Result<std::unique_ptr<Connection>> Connection::open(const std::filesystem::path& file) {
  sqlite3* database = nullptr;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
                    SQLITE_OPEN_EXRESCODE | SQLITE_OPEN_NOFOLLOW;
  const int opened = sqlite3_open_v2(file.c_str(), &database, flags, nullptr);
  std::unique_ptr<Connection> connection(new Connection(database));
  if (opened != SQLITE_OK) return connection->error("opening " + file.string());
  // Closed to others, with what SQLite keeps beside it, also if it was there.
  for (const char* part : {"", "-wal", "-shm"}) {
    const std::string name = file.string() + part;
    if (chmod(name.c_str(), 0600) != 0 && errno != ENOENT) {
      return system_error(Code::unavailable, "closing " + name + " to others");
    }
  }
  sqlite3_busy_timeout(database, busy_wait_ms);
  sqlite3_db_config(database, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  sqlite3_db_config(database, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  return connection;
}

Result<std::vector<Row>> Connection::run(std::string_view sql, std::vector<Value> arguments) {
  const auto statement = prepared(sql);
  if (!statement) return statement.error();
  const Reset reset{*statement};
  CHECK(sqlite3_bind_parameter_count(*statement) == static_cast<int>(arguments.size()));
  int at = 0;
  for (const Value& value : arguments) {
    if (bind(*statement, ++at, value) != SQLITE_OK) return error(sql);
  }
  std::vector<Row> rows;
  for (;;) {
    const int stepped = sqlite3_step(*statement);
    if (stepped == SQLITE_DONE) return rows;
    if (stepped != SQLITE_ROW) return error(sql);
    if (rows.size() == rows_max)
      return Error{Code::too_large, std::string(sql) + ": too many rows"};
    rows.push_back(row_of(*statement));
  }
}

Result<sqlite3_stmt*> Connection::prepared(std::string_view sql) {
  if (const auto known = statements_.find(std::string(sql)); known != statements_.end()) {
    return known->second.get();
  }
  if (statements_.size() >= statements_max) statements_.clear();
  sqlite3_stmt* statement = nullptr;
  const char* rest = nullptr;
  const int prepared = sqlite3_prepare_v3(database_.get(), sql.data(), static_cast<int>(sql.size()),
                                          SQLITE_PREPARE_PERSISTENT, &statement, &rest);
  if (prepared != SQLITE_OK) return error(sql);
  CHECK(statement && rest == sql.data() + sql.size());  // One statement, and nothing after it.
  statements_.emplace(sql, statement);
  return statement;
}

Result<> Connection::run_all(std::string_view sql) {
  const std::string text(sql);
  if (sqlite3_exec(database_.get(), text.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) {
    return error(sql.substr(0, 80));
  }
  return ok;
}

Result<std::int64_t> Connection::number(std::string_view sql) {
  const auto rows = run(sql, {});
  if (!rows) return rows.error();
  CHECK(rows->size() == 1);
  return std::get<std::int64_t>(rows->front().front());
}

bool Connection::in_transaction() const {
  return sqlite3_get_autocommit(database_.get()) == 0;
}

void Connection::checkpoint_on_close() {
  sqlite3_db_config(database_.get(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, nullptr);
}

Error Connection::error(std::string_view attempt) const {
  if (!database_) return {Code::unavailable, std::string(attempt) + ": out of memory"};
  return {code_of(sqlite3_extended_errcode(database_.get())),
          std::string(attempt) + ": " + sqlite3_errmsg(database_.get())};
}

}  // namespace dormouse::store
