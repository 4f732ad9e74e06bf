#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>

#include "invariants.h"
#include "leftovers.h"
#include "records.h"

namespace dormouse::oracle {
namespace {

using namespace std::chrono_literals;

ledger::Begun begun(std::uint64_t n) {
  return {{InvocationId::make({5}, {n, n}), 1}, "default", "f", 3, "", "node", {3'600'000}};
}

ledger::Receipt receipt(std::uint64_t n) {
  ledger::Receipt r;
  r.begun = begun(n);
  r.run = 1500us;
  r.billed_ms = 2;
  r.declared_memory_bytes = 128 << 20;
  r.price = {200'000 + std::int64_t{256} * 16'666'700 / 1'024'000};
  return r;
}

// Two calls that were seen and answered, and one that a crash interrupted before it was seen.
Evidence good() {
  Evidence e;
  e.has_seen = e.has_answered = e.has_sums = true;
  for (const std::uint64_t n : {1, 2, 3}) e.begun.push_back(begun(n));
  for (const std::uint64_t n : {1, 2}) {
    e.receipts.push_back(receipt(n));
    e.seen.push_back({begun(n).key, 7, 0, 1500});
    e.answered.push_back({begun(n).key.id, 200});
  }
  ledger::Receipt interrupted;
  interrupted.begun = begun(3);
  interrupted.failure = Code::unavailable;
  interrupted.interrupted = true;
  e.receipts.push_back(interrupted);
  e.sums[{"f", 3, 1}] = {"", 3, 1, 4, 512, {2 * receipt(1).price.value}};
  return e;
}

std::string violated(const Evidence& e) {
  std::string names;
  for (const Verdict& verdict : judge(e)) names += verdict.count > 0 ? verdict.invariant : "";
  return names;
}

TEST(Oracle, SeesEachKindOfViolation) {
  struct {
    const char* why;
    std::function<void(Evidence&)> spoil;
    std::string wanted;
  } rows[] = {
      {"all is well", [](Evidence&) {}, ""},
      {"answered, and no receipt",
       [](Evidence& e) { e.answered.push_back({begun(9).key.id, 200}); }, "I1"},
      {"answered twice", [](Evidence& e) { e.answered.push_back(e.answered[0]); }, "I1"},
      {"answered, and a receipt of failure",
       [](Evidence& e) { e.answered.push_back({begun(3).key.id, 200}); }, "I1"},
      {"refused, and a receipt of failure",
       [](Evidence& e) { e.answered.push_back({begun(3).key.id, 503}); }, ""},
      {"begun twice", [](Evidence& e) { e.begun.push_back(begun(1)); }, "I2"},
      {"pending", [](Evidence& e) { e.begun.push_back(begun(4)); }, "I2"},
      {"pending while running",
       [](Evidence& e) {
         e.begun.push_back(begun(4));
         e.at_rest = false;
       },
       ""},
      {"two receipts",
       [](Evidence& e) {
         e.receipts.push_back(e.receipts[0]);
         e.has_sums = false;
       },
       "I1I2I3"},
      {"ended, not begun", [](Evidence& e) { e.begun.erase(e.begun.begin()); }, "I2"},
      {"seen, and no receipt", [](Evidence& e) { e.seen.push_back({begun(9).key, 1, 0, 0}); },
       "I3"},
      {"seen twice", [](Evidence& e) { e.seen.push_back(e.seen[0]); }, "I3"},
      {"a receipt of what nobody saw", [](Evidence& e) { e.seen.pop_back(); }, "I3"},
      {"a unit too much",
       [](Evidence& e) {
         e.receipts[0].price.value += 1;
         e.sums.begin()->second.price.value += 1;
       },
       "I4"},
      {"a price for what was interrupted",
       [](Evidence& e) {
         e.receipts[2].price.value = 1;
         e.sums.begin()->second.price.value += 1;
       },
       "I4"},
      {"a sum that differs", [](Evidence& e) { e.sums.begin()->second.calls += 1; }, "I4"},
      {"tokens that differ", [](Evidence& e) { e.sums.begin()->second.tokens.generated += 1; },
       "I4"},
      {"a sum that is missing", [](Evidence& e) { e.sums.clear(); }, "I4"},
      {"a sum of nothing", [](Evidence& e) { e.sums[{"g", 1, 1}] = {}; }, "I4"},
  };
  for (const auto& row : rows) {
    Evidence e = good();
    row.spoil(e);
    EXPECT_EQ(violated(e), row.wanted) << row.why;
  }
}

// An index that has another name than its table.
TEST(Records, SeeDamageWhereverItLies) {
  const auto file =
      std::filesystem::temp_directory_path() / ("oracle." + std::to_string(::getpid()) + ".db");
  std::filesystem::remove(file);
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open(file.c_str(), &database), SQLITE_OK);
  const char* sql =
      "CREATE TABLE ledger_sums (function, revision, hour, calls, failed, billed_ms, mib_ms, price,"
      " prompt_read, prompt_reused, generated);"
      "CREATE TABLE others (name PRIMARY KEY);"
      "INSERT INTO others VALUES ('needle')";
  EXPECT_EQ(sqlite3_exec(database, sql, nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(database);
  Evidence evidence;
  EXPECT_TRUE(read_sums(file, &evidence));
  std::fstream damaged(file, std::ios::in | std::ios::out | std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(damaged), {}};
  damaged.seekp(static_cast<std::streamoff>(bytes.rfind("needle")));
  damaged << "beetle" << std::flush;
  const auto read = read_sums(file, &evidence);
  ASSERT_FALSE(read);
  EXPECT_NE(read.error().message.find("is damaged"), std::string::npos) << read.error().message;
  std::filesystem::remove(file);
}

TEST(Leftovers, SeeAProcessThatNamesTheMark) {
  const std::string mark = "dormouse-mark-" + std::to_string(::getpid());
  const auto before = things_there(mark, ::getpid());
  const pid_t child = ::fork();
  if (child == 0) {
    ::execl("/bin/sleep", mark.c_str(), "60", nullptr);
    ::_exit(1);
  }
  const auto is_child = [&](const std::string& thing) {
    return thing.starts_with("process " + std::to_string(child) + " ");
  };
  bool seen = false;
  for (int tries = 0; tries < 100 && !seen; ++tries) {
    const auto after = things_there(mark, ::getpid());
    seen = std::ranges::any_of(after, is_child);
  }
  EXPECT_TRUE(seen);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ(things_there(mark, ::getpid()), before);
}

}  // namespace
}  // namespace dormouse::oracle
