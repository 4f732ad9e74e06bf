// K6: secrets at rest. What is sealed opens only with its key and in its place, and only whole.
#include "secrets/secrets.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <fstream>
#include <iterator>
#include <unordered_set>

#include "secrets/master_key.h"
#include "secrets/seal.h"

namespace dormouse::secrets {
namespace {

namespace fs = std::filesystem;

const std::string canary = "canary-6f1d2c9e";

std::string content_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

void write(const fs::path& file, std::string_view bytes, mode_t mode = 0600) {
  std::ofstream(file, std::ios::binary) << bytes;
  CHECK(chmod(file.c_str(), mode) == 0);
}

// A data folder that outlives whoever opens it.
struct World {
  World() {
    char name[] = "/tmp/dormouse-secrets-XXXXXX";
    CHECK(mkdtemp(name));
    dir = name;
    key_file = dir / "master.key";
  }
  ~World() {
    close();
    fs::remove_all(dir);
  }
  void close() {
    secrets.reset();
    store.reset();
  }
  Result<> open() {
    close();
    store = *store::open(dir / "x.db", migrations());
    auto opened = secrets::open(store.get(), key_file);
    if (!opened) return opened.error();
    secrets = std::move(*opened);
    return ok;
  }
  Result<Fact> set(std::string name, std::string value, std::int64_t at = 1'700'000'000'000) {
    return run(secrets->set(std::move(name), std::move(value), {at}));
  }
  void sql(std::string_view statement, std::vector<store::Value> arguments = {}) {
    auto work = [&](store::Transaction& t) -> Result<> {
      auto done = t.run(statement, arguments);
      if (!done) return done.error();
      return ok;
    };
    ASSERT_TRUE(store->transact_now(work));
  }
  // All files but the key's.
  std::string everything_stored() const {
    std::string all;
    for (const auto& entry : fs::directory_iterator(dir)) {
      if (entry.path() != key_file) all += content_of(entry.path());
    }
    return all;
  }
  template <class T>
  T run(asio::awaitable<T> work) {
    asio::io_context io;
    auto result = asio::co_spawn(io, std::move(work), asio::use_future);
    io.run();
    return result.get();
  }

  fs::path dir, key_file;
  std::unique_ptr<store::Store> store;
  std::unique_ptr<Secrets> secrets;
};

TEST(Seal, OpensWithItsKeyAndInItsPlaceOnly) {
  const MasterKey key(std::string(32, 'k')), other(std::string(31, 'k') + "K");
  const Sealed sealed = seal(key, fresh_nonce(), canary, "place");
  EXPECT_EQ(open(key, sealed, "place"), canary);
  EXPECT_EQ(open(other, sealed, "place"), std::nullopt);
  EXPECT_EQ(open(key, sealed, "elsewhere"), std::nullopt);
  EXPECT_FALSE(sealed.bytes.contains(canary.substr(0, 4)));
  EXPECT_EQ(open(key, {"", sealed.bytes}, "place"), std::nullopt);
  EXPECT_EQ(open(key, {sealed.nonce, "short"}, "place"), std::nullopt);
}

// AES-256-GCM and no other: a vector of NIST's (McGrew and Viega's test case 16).
TEST(Seal, IsAes256Gcm) {
  const auto bytes = [](std::string_view hex) {
    std::string out;
    for (std::size_t i = 0; i < hex.size(); i += 2) {
      out += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
    }
    return out;
  };
  const MasterKey key(bytes("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"));
  const Sealed sealed =
      seal(key, bytes("cafebabefacedbaddecaf888"),
           bytes("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
                 "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"),
           bytes("feedfacedeadbeeffeedfacedeadbeefabaddad2"));
  EXPECT_EQ(sealed.bytes, bytes("522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
                                "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
                                "76fc6ece0f4e1768cddf8853bb2d551b"));
}

TEST(Seal, UsesNoNonceTwiceInAMillion) {
  std::unordered_set<std::string> seen;
  for (int i = 0; i < 1'000'000; ++i) seen.insert(fresh_nonce());
  EXPECT_EQ(seen.size(), 1'000'000u);
}

TEST(Secrets, AreReadAndListedAndKeptOverARestart) {
  World world;
  ASSERT_TRUE(world.open());
  EXPECT_EQ(world.set("API_KEY", "first", 1000)->version, 1);
  EXPECT_EQ(world.set("API_KEY", canary, 2000)->version, 2);
  EXPECT_EQ(world.set("db.prod-1", std::string(value_bytes_max, 'x'))->version, 1);
  for (int opened = 0; opened < 2; ++opened) {
    EXPECT_EQ(*world.secrets->read("API_KEY"), canary);
    EXPECT_EQ(world.secrets->read("db.prod-1")->size(), value_bytes_max);
    const auto facts = world.secrets->list();
    ASSERT_EQ(facts.size(), 2u);
    EXPECT_EQ(facts[0].name, "API_KEY");
    EXPECT_EQ(facts[0].version, 2);
    EXPECT_EQ(facts[0].set_at.unix_ms, 2000);
    ASSERT_TRUE(world.open());
  }
  EXPECT_TRUE(world.run(world.secrets->remove("API_KEY")));
  EXPECT_FALSE(world.secrets->contains("API_KEY"));
  EXPECT_EQ(world.run(world.secrets->remove("API_KEY")).error().code, Code::not_found);
  ASSERT_TRUE(world.open());
  const auto gone = world.secrets->read("API_KEY");
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().message,
            "there is no secret \"API_KEY\"; set it with `dormouse secret set API_KEY`");
}

TEST(Secrets, RefuseWhatIsNoNameOrNoValue) {
  World world;
  ASSERT_TRUE(world.open());
  const std::string longest = "A" + std::string(63, 'b');
  const struct {
    const char* why;
    std::string name, value;
    std::optional<Code> refused;
  } rows[] = {
      {"the longest name", longest, "v", {}},
      {"one byte more", longest + "b", "v", Code::invalid_argument},
      {"no name", "", "v", Code::invalid_argument},
      {"a digit first", "1A", "v", Code::invalid_argument},
      {"a slash", "a/b", "v", Code::invalid_argument},
      {"all kinds of characters", "_a.B-2", "v", {}},
      {"no value", "A", "", Code::invalid_argument},
      {"a line break and more", "A", "line\nä\t", {}},
      {"a NUL", "A", std::string("a\0b", 3), Code::invalid_argument},
      {"the largest", "A", std::string(value_bytes_max, 'v'), {}},
      {"larger", "A", std::string(value_bytes_max + 1, 'v'), Code::too_large},
  };
  for (const auto& row : rows) {
    const auto set = world.set(row.name, row.value);
    EXPECT_EQ(set.has_value(), !row.refused) << row.why;
    if (!set) EXPECT_EQ(set.error().code, row.refused) << row.why;
    if (!set) EXPECT_FALSE(set.error().message.contains("vvv")) << row.why;
  }
}

TEST(Secrets, LieNowhereInTheClear) {
  World world;
  ASSERT_TRUE(world.open());
  ASSERT_TRUE(world.set("API_KEY", canary));
  EXPECT_FALSE(world.everything_stored().contains(canary));
  world.close();
  const std::string stored = world.everything_stored();
  EXPECT_TRUE(stored.contains("API_KEY"));  // The search finds what is there.
  EXPECT_FALSE(stored.contains(canary));
  EXPECT_FALSE(stored.contains(content_of(world.key_file)));
}

// Every bit of every column of a stored record, one after the other.
TEST(Secrets, NoticeEveryBitThatIsChanged) {
  World world;
  ASSERT_TRUE(world.open());
  ASSERT_TRUE(world.set("API_KEY", canary));
  store::Row stored;
  auto look = [&](store::Transaction& t) -> Result<> {
    stored = t.run("SELECT * FROM secrets WHERE name = 'API_KEY'")->front();
    return ok;
  };
  ASSERT_TRUE(world.store->transact_now(look));
  int tampered = 0;
  const auto expect_noticed = [&](const store::Row& row) {
    auto put_back = [&](store::Transaction& t) -> Result<> {
      if (auto gone = t.run("DELETE FROM secrets WHERE name <> ''"); !gone) return gone.error();
      auto put = t.run("INSERT INTO secrets VALUES (?, ?, ?, ?, ?)", row);
      return put ? Result<>(ok) : put.error();
    };
    ASSERT_TRUE(world.store->transact_now(put_back));
    auto opened = secrets::open(world.store.get(), world.key_file);
    ASSERT_TRUE(opened);
    const auto value = (*opened)->read(std::get<std::string>(row[0]));
    ASSERT_FALSE(value) << "bit " << tampered;
    EXPECT_EQ(value.error().code, Code::unavailable);
    ++tampered;
  };
  for (std::size_t column = 0; column < stored.size(); ++column) {
    store::Row changed = stored;
    if (auto* const number = std::get_if<std::int64_t>(&changed[column])) {
      for (int bit = 0; bit < 64; ++bit) {
        *number ^= std::int64_t{1} << bit;
        expect_noticed(changed);
        *number ^= std::int64_t{1} << bit;
      }
      continue;
    }
    auto& text = std::get<std::string>(changed[column]);
    for (std::size_t bit = 0; bit < text.size() * 8; ++bit) {
      text[bit / 8] = static_cast<char>(text[bit / 8] ^ (1 << bit % 8));
      expect_noticed(changed);
      text[bit / 8] = static_cast<char>(text[bit / 8] ^ (1 << bit % 8));
    }
  }
  EXPECT_EQ(tampered, 8 * static_cast<int>(7 + 8 + 8 + nonce_size + canary.size() + 16));
}

TEST(Secrets, NoticeTwoRecordsThatWereSwapped) {
  World world;
  ASSERT_TRUE(world.open());
  ASSERT_TRUE(world.set("TEST", "harmless"));
  ASSERT_TRUE(world.set("PROD", canary));
  ASSERT_TRUE(world.set("OTHER", "as it was"));
  world.sql("UPDATE secrets SET name = 'X' WHERE name = 'TEST'");
  world.sql("UPDATE secrets SET name = 'TEST' WHERE name = 'PROD'");
  world.sql("UPDATE secrets SET name = 'PROD' WHERE name = 'X'");
  ASSERT_TRUE(world.open());
  for (const char* name : {"TEST", "PROD"}) {
    const auto value = world.secrets->read(name);
    ASSERT_FALSE(value);
    EXPECT_EQ(value.error().message, "the record of the secret \"" + std::string(name) +
                                         "\" was damaged; set it anew with `dormouse secret set " +
                                         name + "`");
  }
  EXPECT_EQ(*world.secrets->read("OTHER"), "as it was");  // Others serve on.
  ASSERT_TRUE(world.set("PROD", "anew"));
  EXPECT_EQ(*world.secrets->read("PROD"), "anew");
}

TEST(MasterKey, IsMadeOnceAndForItsOwnerOnly) {
  World world;
  ASSERT_TRUE(world.open());
  const std::string made = content_of(world.key_file);
  EXPECT_EQ(made.size(), MasterKey::size);
  struct stat status{};
  ASSERT_EQ(stat(world.key_file.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  ASSERT_TRUE(world.open());
  EXPECT_EQ(content_of(world.key_file), made);
}

TEST(MasterKey, ThatIsWrongOrGoneIsRefusedAndNothingChanges) {
  World world;
  ASSERT_TRUE(world.open());
  ASSERT_TRUE(world.set("API_KEY", canary));
  world.close();
  const std::string right = content_of(world.key_file);
  const struct {
    const char* why;
    std::optional<std::string> content;
    mode_t mode;
    const char* said;
  } rows[] = {
      {"gone", {}, 0, "the master key is not there"},
      {"another", std::string(32, 'x'), 0600, "is not the master key that the secrets"},
      {"short", right.substr(1), 0600, "it has not 32 bytes"},
      {"long", right + "\n", 0600, "it has not 32 bytes"},
      {"read by others", right, 0640, "chmod 600"},
  };
  for (const auto& row : rows) {
    fs::remove(world.key_file);
    if (row.content) write(world.key_file, *row.content, row.mode);
    const auto opened = world.open();
    ASSERT_FALSE(opened) << row.why;
    EXPECT_EQ(opened.error().code, Code::conflict) << row.why;
    EXPECT_TRUE(opened.error().message.contains(row.said)) << opened.error().message;
    EXPECT_EQ(fs::exists(world.key_file), row.content.has_value()) << row.why;
    if (row.content) EXPECT_EQ(content_of(world.key_file), *row.content) << row.why;
  }
  write(world.key_file, right);
  ASSERT_TRUE(world.open());
  EXPECT_EQ(*world.secrets->read("API_KEY"), canary);
}

TEST(MasterKey, IsNotTakenForRightWhenItsCheckIsGone) {
  World world;
  ASSERT_TRUE(world.open());
  ASSERT_TRUE(world.set("API_KEY", canary));
  world.sql("DELETE FROM secrets WHERE name = ''");
  EXPECT_FALSE(world.open());
}

// A crash while it is made leaves a beginning beside it, or the whole key and nothing sealed yet.
TEST(MasterKey, IsWholeAfterACrashAtAnyMoment) {
  World world;
  write(world.dir / "master.key.new", "half a k");
  ASSERT_TRUE(world.open());
  ASSERT_TRUE(world.set("API_KEY", canary));
  EXPECT_FALSE(fs::exists(world.dir / "master.key.new"));
  EXPECT_EQ(content_of(world.key_file).size(), MasterKey::size);

  World renamed;
  const auto key = make_key(renamed.key_file);
  ASSERT_TRUE(key);
  const std::string made = content_of(renamed.key_file);
  ASSERT_TRUE(renamed.open());
  EXPECT_EQ(content_of(renamed.key_file), made);
}

TEST(MasterKey, CannotBeMadeWhereThereIsNoFolder) {
  World world;
  world.key_file = world.dir / "nowhere" / "key";
  const auto opened = world.open();
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Code::unavailable);
  EXPECT_TRUE(opened.error().message.contains("nowhere"));
}

}  // namespace
}  // namespace dormouse::secrets
