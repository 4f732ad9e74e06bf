#include "ledger/sums.h"

#include <algorithm>

#include "metering/metering.h"

namespace dormouse::ledger {
namespace {

constexpr store::Migration steps[] = {
    {"ledger",
     "CREATE TABLE ledger_sums ("
     "  tenant TEXT NOT NULL, function TEXT NOT NULL, revision INTEGER NOT NULL,"
     "  hour INTEGER NOT NULL, calls INTEGER NOT NULL, failed INTEGER NOT NULL,"
     "  billed_ms INTEGER NOT NULL, mib_ms INTEGER NOT NULL, price INTEGER NOT NULL,"
     "  PRIMARY KEY (tenant, function, revision, hour)) STRICT, WITHOUT ROWID;"
     "CREATE TABLE ledger_position ("
     "  one INTEGER PRIMARY KEY CHECK (one = 1), segment INTEGER NOT NULL,"
     "  offset INTEGER NOT NULL, chain TEXT NOT NULL) STRICT;"},
    {"ledger",
     "ALTER TABLE ledger_sums ADD COLUMN prompt_read INTEGER NOT NULL DEFAULT 0;"
     "ALTER TABLE ledger_sums ADD COLUMN prompt_reused INTEGER NOT NULL DEFAULT 0;"
     "ALTER TABLE ledger_sums ADD COLUMN generated INTEGER NOT NULL DEFAULT 0;"}};

Result<> add_to(std::int64_t& to, std::int64_t more) {
  if (!__builtin_add_overflow(to, more, &to)) return ok;
  return Error{Code::too_large, "a sum of the ledger exceeds 64 bits"};
}

Result<Sum> sum_of(const EndedRecord& e) {
  const bool failed = e.failure && blame(*e.failure) != Blame::caller;
  Sum sum{"", 1, failed, e.billed_ms, 0, {e.price}, e.tokens};
  const std::int64_t mib = metering::billed_mib(e.declared_memory_bytes);
  if (__builtin_mul_overflow(mib, e.billed_ms, &sum.mib_ms)) {
    return Error{Code::too_large, "a receipt of the ledger exceeds 64 bits"};
  }
  return sum;
}

std::int64_t number(const store::Value& value) {
  const auto* number = std::get_if<std::int64_t>(&value);
  return number ? *number : 0;
}

std::string text(const store::Value& value) {
  const auto* text = std::get_if<std::string>(&value);
  return text ? *text : "";
}

}  // namespace

std::span<const store::Migration> migrations() {
  return steps;
}

Result<> add(Sum& to, const Sum& more) {
  for (auto part : {&Sum::calls, &Sum::failed, &Sum::billed_ms, &Sum::mib_ms}) {
    if (auto added = add_to(to.*part, more.*part); !added) return added;
  }
  for (auto part : {&Tokens::prompt_read, &Tokens::prompt_reused, &Tokens::generated}) {
    if (auto added = add_to(to.tokens.*part, more.tokens.*part); !added) return added;
  }
  return add_to(to.price.value, more.price.value);
}

Result<> add(Sums& to, const Sums& more) {
  for (const auto& [key, sum] : more) {
    if (auto added = add(to[key], sum); !added) return added;
  }
  return ok;
}

Result<> add(Sums& to, const EndedRecord& e, const Subject& s) {
  const auto sum = sum_of(e);
  if (!sum) return sum.error();
  return add(to[{s.tenant, s.function, s.revision, hour_of(e.begun.at_ms)}], *sum);
}

Result<Position> read_position(store::Transaction& t) {
  const auto rows = t.run("SELECT segment, offset, chain FROM ledger_position");
  if (!rows) return rows.error();
  Position position;
  if (rows->empty()) return position;
  const store::Row& row = rows->front();
  position.segment = static_cast<std::uint32_t>(number(row[0]));
  position.offset = static_cast<std::uint64_t>(number(row[1]));
  const std::string chain = text(row[2]);
  std::copy_n(chain.begin(), std::min(chain.size(), position.chain.size()), position.chain.begin());
  return position;
}

Result<> write_sums(store::Transaction& t, const Sums& sums, const Position& from,
                    const Position& to) {
  const auto stands = read_position(t);
  if (!stands) return stands.error();
  if (*stands != from) return Error{Code::conflict, "the ledger's sums stand elsewhere"};
  for (const auto& [key, sum] : sums) {
    const auto added = t.run(
        "INSERT INTO ledger_sums (tenant, function, revision, hour, calls, failed, billed_ms,"
        " mib_ms, price, prompt_read, prompt_reused, generated)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (tenant, function, revision, hour) DO UPDATE SET"
        " calls = calls + excluded.calls, failed = failed + excluded.failed,"
        " billed_ms = billed_ms + excluded.billed_ms, mib_ms = mib_ms + excluded.mib_ms,"
        " price = price + excluded.price, prompt_read = prompt_read + excluded.prompt_read,"
        " prompt_reused = prompt_reused + excluded.prompt_reused,"
        " generated = generated + excluded.generated",
        {key.tenant, key.function, std::int64_t{key.revision}, key.hour, sum.calls, sum.failed,
         sum.billed_ms, sum.mib_ms, sum.price.value, sum.tokens.prompt_read,
         sum.tokens.prompt_reused, sum.tokens.generated});
    if (!added) return added.error();
  }
  const auto moved = t.run(
      "INSERT INTO ledger_position VALUES (1, ?, ?, ?) ON CONFLICT (one) DO UPDATE SET"
      " segment = excluded.segment, offset = excluded.offset, chain = excluded.chain",
      {std::int64_t{to.segment}, static_cast<std::int64_t>(to.offset),
       std::string(as_text(to.chain))});
  if (!moved) return moved.error();
  return ok;
}

Result<> clear_sums(store::Transaction& t, std::int64_t hour) {
  const auto sums = t.run("DELETE FROM ledger_sums WHERE hour >= ?", {hour});
  if (!sums) return sums.error();
  const auto position = t.run("DELETE FROM ledger_position");
  if (!position) return position.error();
  return ok;
}

Result<std::vector<Sum>> read_sums(store::Transaction& t, const Query& query) {
  const std::int64_t since = hour_of(query.since.unix_ms);
  const auto rows = t.run(
      "SELECT function, sum(calls), sum(failed), sum(billed_ms), sum(mib_ms), sum(price),"
      " sum(prompt_read), sum(prompt_reused), sum(generated)"
      " FROM ledger_sums WHERE hour >= ? AND (? = '' OR function = ?)"
      " GROUP BY function ORDER BY function",
      {since, query.function, query.function});
  if (!rows) return rows.error();
  std::vector<Sum> sums;
  for (const store::Row& row : *rows) {
    sums.push_back({text(row[0]),
                    number(row[1]),
                    number(row[2]),
                    number(row[3]),
                    number(row[4]),
                    {number(row[5])},
                    {number(row[6]), number(row[7]), number(row[8])}});
  }
  return sums;
}

Result<std::vector<Sum>> merge(const std::vector<Sum>& rows, const Sums& missing,
                               const Query& query) {
  std::map<std::string, Sum> merged;
  const auto add_one = [&](const std::string& function, const Sum& sum) {
    return add(merged[query.by_function ? function : ""], sum);
  };
  for (const Sum& row : rows) {
    if (auto added = add_one(row.function, row); !added) return added.error();
  }
  for (const auto& [key, sum] : missing) {
    if (key.hour < hour_of(query.since.unix_ms)) continue;
    if (!query.function.empty() && key.function != query.function) continue;
    if (auto added = add_one(key.function, sum); !added) return added.error();
  }
  std::vector<Sum> sums;
  for (auto& [function, sum] : merged) {
    sum.function = function;
    sums.push_back(std::move(sum));
  }
  return sums;
}

}  // namespace dormouse::ledger
