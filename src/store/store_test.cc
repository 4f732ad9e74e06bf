#include "store/store.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <fstream>

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

}  // namespace
}  // namespace dormouse::store
