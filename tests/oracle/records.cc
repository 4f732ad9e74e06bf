#include "records.h"

#include <sqlite3.h>

#include <fstream>
#include <memory>
#include <sstream>

namespace dormouse::oracle {
namespace {

struct CloseDatabase {
  void operator()(sqlite3* database) const { sqlite3_close_v2(database); }
};
struct FinalizeStatement {
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};

// A crash can leave half a line at the end of a file; that line counts for nothing.
Result<> each_line(const std::filesystem::path& file,
                   const std::function<bool(std::istringstream&)>& take) {
  std::ifstream in(file);
  if (!in) return Error{Code::not_found, "there is no " + file.string()};
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    const bool is_half = in.eof();
    std::istringstream words(line);
    if (!is_half && !line.empty() && !take(words)) {
      return Error{Code::invalid_argument,
                   file.string() + ", line " + std::to_string(number) + ": \"" + line + "\""};
    }
  }
  return ok;
}

bool take_id(std::istringstream& words, InvocationId* id) {
  std::string text;
  if (!(words >> text)) return false;
  const auto parsed = InvocationId::parse(text);
  if (parsed) *id = *parsed;
  return parsed.has_value();
}

// SQLite's own word on the whole file: "ok", or what is wrong with it.
std::string integrity_of(sqlite3* database) {
  sqlite3_stmt* prepared = nullptr;
  if (sqlite3_prepare_v2(database, "PRAGMA integrity_check", -1, &prepared, nullptr) != SQLITE_OK) {
    return sqlite3_errmsg(database);
  }
  const std::unique_ptr<sqlite3_stmt, FinalizeStatement> statement(prepared);
  if (sqlite3_step(prepared) != SQLITE_ROW) return sqlite3_errmsg(database);
  return reinterpret_cast<const char*>(sqlite3_column_text(prepared, 0));
}

}  // namespace

Result<> read_ledger(const std::filesystem::path& dir, Evidence* evidence) {
  return ledger::read_all(dir, [&](const ledger::Begun* begun, const ledger::Receipt* receipt) {
    if (begun) evidence->begun.push_back(*begun);
    if (receipt) evidence->receipts.push_back(*receipt);
  });
}

Result<> read_sums(const std::filesystem::path& database, Evidence* evidence) {
  sqlite3* opened = nullptr;
  const int code = sqlite3_open_v2(database.c_str(), &opened, SQLITE_OPEN_READWRITE, nullptr);
  const std::unique_ptr<sqlite3, CloseDatabase> closes(opened);
  const auto failed = [&] {
    return Error{Code::unavailable, database.string() + ": " + sqlite3_errmsg(opened)};
  };
  if (code != SQLITE_OK) return failed();
  if (const std::string found = integrity_of(opened); found != "ok") {
    return Error{Code::unavailable, database.string() + " is damaged: " + found};
  }
  sqlite3_stmt* prepared = nullptr;
  const char* sql =
      "SELECT function, revision, hour, calls, failed, billed_ms, mib_ms, price, prompt_read,"
      " prompt_reused, generated FROM ledger_sums";
  if (sqlite3_prepare_v2(opened, sql, -1, &prepared, nullptr) != SQLITE_OK) return failed();
  const std::unique_ptr<sqlite3_stmt, FinalizeStatement> statement(prepared);
  int stepped;
  while ((stepped = sqlite3_step(prepared)) == SQLITE_ROW) {
    const auto number = [&](int at) { return std::int64_t{sqlite3_column_int64(prepared, at)}; };
    const auto* name = reinterpret_cast<const char*>(sqlite3_column_text(prepared, 0));
    const SumKey key{name ? name : "", static_cast<std::int32_t>(number(1)), number(2)};
    evidence->sums[key] = {"",
                           number(3),
                           number(4),
                           number(5),
                           number(6),
                           {number(7)},
                           {number(8), number(9), number(10)}};
  }
  evidence->has_sums = true;
  if (stepped != SQLITE_DONE) return failed();
  return ok;
}

Result<> read_seen(const std::filesystem::path& file, Evidence* evidence) {
  evidence->has_seen = true;
  return each_line(file, [&](std::istringstream& words) {
    Seen seen;
    const bool good = take_id(words, &seen.key.id) &&
                      words >> seen.key.attempt >> seen.pid >> seen.start_us >> seen.end_us;
    if (good) evidence->seen.push_back(seen);
    return good;
  });
}

Result<> read_answered(const std::filesystem::path& file, Evidence* evidence) {
  evidence->has_answered = true;
  return each_line(file, [&](std::istringstream& words) {
    Answered answered;
    if (!take_id(words, &answered.id)) return false;
    if (!(words >> answered.status)) answered.status = 200;
    evidence->answered.push_back(answered);
    return true;
  });
}

}  // namespace dormouse::oracle
