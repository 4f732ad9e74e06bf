#include "store/store.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <fstream>
#include <map>
#include <thread>

#include "store/sqlite_store.h"

namespace dormouse::store {
namespace {

namespace fs = std::filesystem;

struct Folder {
  Folder() {
    char name[] = "/tmp/dormouse-store-XXXXXX";
    CHECK(mkdtemp(name));
    path = name;
  }
  ~Folder() { fs::remove_all(path); }
  fs::path path;
};

const Migration animals[] = {{"zoo", "CREATE TABLE animals (name TEXT PRIMARY KEY, legs INTEGER)"}};

Result<> add(Transaction& t, std::string name, std::int64_t legs) {
  auto added = t.run("INSERT INTO animals VALUES (?, ?)", {std::move(name), legs});
  if (!added) return added.error();
  return ok;
}

std::int64_t count(Store& store) {
  std::int64_t found = -1;
  const auto done = store.transact_now([&](Transaction& t) -> Result<> {
    const auto rows = t.run("SELECT count(*) FROM animals");
    if (!rows) return rows.error();
    found = std::get<std::int64_t>((*rows)[0][0]);
    return ok;
  });
  return done ? found : -1;
}

std::string content(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(Store, KeepsWhatWasCommittedAndForgetsWhatWasRefused) {
  Folder folder;
  {
    auto store = *open(folder.path / "x.db", animals);
    EXPECT_TRUE(store->transact_now([](Transaction& t) { return add(t, "dormouse", 4); }));
    const auto refused = store->transact_now([](Transaction& t) -> Result<> {
      if (auto added = add(t, "owl", 2); !added) return added;
      return Error{Code::conflict, "changed my mind"};
    });
    EXPECT_EQ(refused.error(), (Error{Code::conflict, "changed my mind"}));
    const auto twice = store->transact_now([](Transaction& t) { return add(t, "dormouse", 4); });
    EXPECT_EQ(twice.error().code, Code::conflict);
  }
  auto store = *open(folder.path / "x.db", animals);
  EXPECT_EQ(count(*store), 1);
}

TEST(Store, GroupsThoseThatWaitAndAnswersEachForItself) {
  Folder folder;
  auto store = *open(folder.path / "x.db", animals);
  asio::io_context io;
  std::vector<std::future<Result<>>> answers;
  for (int i = 0; i < 1000; ++i) {
    auto work = [i](Transaction& t) { return add(t, std::to_string(i / 2), i); };
    answers.push_back(asio::co_spawn(io, store->transact(work), asio::use_future));
  }
  io.run();
  int good = 0;
  for (auto& answer : answers) good += answer.get().has_value();
  EXPECT_EQ(good, 500);
  EXPECT_EQ(count(*store), 500);
}

TEST(Store, LeavesADatabaseFromANewerVersionUntouched) {
  Folder folder;
  const Migration newer[] = {animals[0], {"zoo", "ALTER TABLE animals ADD COLUMN tail INTEGER"}};
  {
    auto store = *open(folder.path / "x.db", newer);
  }
  const std::string before = content(folder.path / "x.db");
  const auto refused = open(folder.path / "x.db", animals);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::conflict);
  EXPECT_EQ(content(folder.path / "x.db"), before);
  EXPECT_TRUE(open(folder.path / "x.db", newer));
}

// A process that dies right after its commits leaves them in the log beside the database.
void write_and_die(const fs::path& file, std::span<const Migration> migrations) {
  const pid_t child = ::fork();
  if (child == 0) {
    const auto store = open(file, migrations);
    ::_exit(store && (*store)->transact_now([](Transaction& t) { return add(t, "owl", 2); }) ? 0
                                                                                             : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_EQ(status, 0);
}

TEST(Store, LeavesANewerDatabaseUntouchedEvenIfItsLogWasNotMerged) {
  Folder folder;
  const fs::path file = folder.path / "x.db";
  const Migration newer[] = {animals[0], {"zoo", "CREATE TABLE plants (name TEXT)"}};
  {
    auto store = *open(file, animals);
  }
  write_and_die(file, newer);
  const std::string database = content(file), log = content(file.string() + "-wal");
  ASSERT_NE(log, "");
  ASSERT_FALSE(open(file, animals));
  EXPECT_EQ(content(file), database);
  EXPECT_EQ(content(file.string() + "-wal"), log);
  EXPECT_EQ(count(**open(file, newer)), 1);
}

TEST(Store, RefusesWhatIsNotItsOwn) {
  Folder folder;
  std::ofstream(folder.path / "text.db") << std::string(5000, 'x');
  std::ofstream(folder.path / "foreign.db") << "";
  ASSERT_EQ(::system(("sqlite3 " + (folder.path / "foreign.db").string() +
                      " 'CREATE TABLE t (x)' 2>/dev/null || true")
                         .c_str()),
            0);
  for (const char* name : {"text.db", "foreign.db"}) {
    const std::string before = content(folder.path / name);
    if (before.empty()) continue;  // Without the sqlite3 program.
    const auto refused = open(folder.path / name, animals);
    ASSERT_FALSE(refused) << name;
    EXPECT_EQ(refused.error().code, Code::conflict) << refused.error().message;
    EXPECT_EQ(content(folder.path / name), before);
  }
}

TEST(Store, MigratesEachModuleOnItsOwn) {
  Folder folder;
  const Migration both[] = {{"zoo", "CREATE TABLE animals (name TEXT PRIMARY KEY, legs INTEGER)"},
                            {"garden", "CREATE TABLE plants (name TEXT)"}};
  const Migration more[] = {both[0], {"zoo", "INSERT INTO animals VALUES ('snake', 0)"}, both[1]};
  const Migration broken[] = {
      more[0], more[1], both[1], {"garden", "INSERT INTO plants VALUES ('oak'); NONSENSE"}};
  {
    ASSERT_TRUE(open(folder.path / "x.db", both));
  }
  EXPECT_EQ(count(**open(folder.path / "x.db", more)), 1);
  const auto refused = open(folder.path / "x.db", broken);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("garden to version 2"), std::string::npos);
  const auto store = open(folder.path / "x.db", more);
  ASSERT_TRUE(store);
  const auto empty = (*store)->transact_now([](Transaction& t) -> Result<> {
    const auto plants = t.run("SELECT * FROM plants");
    return plants && plants->empty() ? Result<>(ok) : Error{Code::conflict, "half a migration"};
  });
  EXPECT_TRUE(empty);
}

TEST(Store, HoldsOneWritableDatabaseAndKeepsOthersOut) {
  Folder folder;
  const fs::path file = fs::canonical(folder.path) / "x.db";
  const auto store = *open(file, animals);
  EXPECT_TRUE(store->transact_now([](Transaction& t) { return add(t, "dormouse", 4); }));
  int held = 0;
  for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    held += fs::read_symlink(entry, gone) == file;
  }
  EXPECT_EQ(held, 1);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto second = open(file, animals);
    ::_exit(!second && second.error().code == Code::conflict ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST(Store, SaysUnknownWhenACommitFailsAndGoesOnWhenThereIsRoom) {
  Folder folder;
  const auto store = *open(folder.path / "x.db", animals);
  EXPECT_TRUE(store->transact_now([](Transaction& t) { return add(t, "dormouse", 4); }));
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const rlimit full{4096, before.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &full);
  const auto failed = store->transact_now([](Transaction& t) { return add(t, "owl", 2); });
  ::setrlimit(RLIMIT_FSIZE, &before);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, Code::unavailable);
  EXPECT_EQ(count(*store), 1);
  EXPECT_TRUE(store->transact_now([](Transaction& t) { return add(t, "owl", 2); }));
  EXPECT_EQ(count(*store), 2);
}

TEST(Store, ServesManyThreadsAtOnce) {
  Folder folder;
  const auto store = *open(folder.path / "x.db", animals);
  constexpr int threads = 8, each = 100;
  std::vector<std::thread> running;
  for (int n = 0; n < threads; ++n) {
    running.emplace_back([&store, n] {
      asio::io_context io;
      std::vector<std::future<Result<>>> answers;
      for (int i = 0; i < each; ++i) {
        auto work = [name = std::to_string(n * each + i)](Transaction& t) {
          return add(t, name, 4);
        };
        answers.push_back(asio::co_spawn(io, store->transact(work), asio::use_future));
      }
      io.run();
      for (auto& answer : answers) EXPECT_TRUE(answer.get());
      EXPECT_TRUE(store->transact_now([](Transaction&) -> Result<> { return ok; }));
    });
  }
  for (auto& thread : running) thread.join();
  EXPECT_EQ(count(*store), threads * each);
}

// By how many descriptors this process has a file of the database's.
std::map<std::string, int> held_of(const fs::path& file) {
  std::map<std::string, int> held;
  for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const std::string target = fs::read_symlink(entry, gone);
    if (target.starts_with(file.string())) ++held[target.substr(file.string().size())];
  }
  return held;
}

// Of both rows of each pair, or of none; and never fewer than before.
void expect_pairs(Store& store, std::int64_t* before) {
  const std::int64_t now = count(store);
  EXPECT_EQ(now % 2, 0);
  EXPECT_GE(now, *before);
  *before = now;
}

// D9. The log is checkpointed by the thousand pages, with the one connection that all of them take
// turns at.
TEST(Store, KeepsItsIntegrityBesideEightReadersAndCheckpoints) {
  Folder folder;
  const fs::path file = fs::canonical(folder.path) / "x.db";
  constexpr int readers = 8, pairs = 200;
  {
    const auto store = *open(file, animals);
    std::atomic<bool> done = false;
    std::vector<std::thread> running;
    for (int n = 0; n < readers; ++n) {
      running.emplace_back([&store, &done] {
        for (std::int64_t seen = 0; !done;) {
          expect_pairs(*store, &seen);
          std::this_thread::sleep_for(std::chrono::microseconds(200));  // The writer's turn.
        }
      });
    }
    const std::string tail(20'000, 'x');
    bool is_written = true;
    for (int pair = 0; is_written && pair < pairs; ++pair) {
      const std::string name = std::to_string(pair) + tail;
      const auto added = store->transact_now([&](Transaction& t) {
        const auto left = add(t, "left " + name, 2);
        return left ? add(t, "right " + name, 2) : left;
      });
      is_written = added.has_value();
      EXPECT_TRUE(is_written) << added.error().message;
    }
    done = true;
    for (auto& thread : running) thread.join();
    EXPECT_EQ(count(*store), 2 * pairs);
    EXPECT_GT(fs::file_size(file), 4u << 20);  // It went there from the log, a few times.
    EXPECT_EQ(held_of(file), (std::map<std::string, int>{{"", 1}, {"-wal", 1}}));
  }
  const auto store = *open(file, animals);
  const auto whole = store->transact_now([](Transaction& t) -> Result<> {
    const auto rows = t.run("PRAGMA integrity_check");
    if (!rows) return rows.error();
    EXPECT_EQ(std::get<std::string>(rows->front().front()), "ok");
    return ok;
  });
  EXPECT_TRUE(whole);
  EXPECT_EQ(count(*store), 2 * pairs);
}

}  // namespace
}  // namespace dormouse::store
