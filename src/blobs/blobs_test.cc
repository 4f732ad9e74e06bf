#include "blobs/blobs.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <fstream>
#include <thread>

namespace dormouse::blobs {
namespace {

namespace fs = std::filesystem;

struct World {
  World() {
    char name[] = "/tmp/dormouse-blobs-XXXXXX";
    CHECK(mkdtemp(name));
    dir = name;
    restart();
  }
  ~World() {
    blobs.reset();
    fs::remove_all(dir);
  }
  void restart() {
    blobs.reset();
    blobs = *open({dir / "blobs", 1 << 20});
  }
  template <class T>
  static asio::awaitable<void> keep(asio::awaitable<T> work, std::optional<T>* answer) {
    *answer = co_await std::move(work);
  }
  template <class T>
  T run(asio::awaitable<T> work) {
    asio::io_context io;
    std::optional<T> answer;
    auto kept = asio::co_spawn(io, keep(std::move(work), &answer), asio::use_future);
    io.run();
    kept.get();
    return *std::move(answer);
  }
  Digest put(std::string_view text) {
    const Digest digest = digest_of(text);
    CHECK(run(blobs->append(digest, 0, text, true)));
    return digest;
  }
  fs::path file(std::string_view text) {
    std::ofstream(dir / "file") << text;
    return dir / "file";
  }
  fs::path dir;
  std::unique_ptr<Blobs> blobs;
};

std::string content(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(Upload, ComesInChunksAndGoesOnAfterARestart) {
  World world;
  const Digest digest = digest_of("dormouse");
  EXPECT_EQ(digest.hex().size(), Digest::hex_size);
  EXPECT_EQ(world.run(world.blobs->append(digest, 0, "dor", false)).value_or(99), 3u);
  world.restart();
  EXPECT_EQ(world.run(world.blobs->uploaded(digest)).value_or(99), 3u);
  const auto early = world.run(world.blobs->append(digest, 0, "dor", false));
  EXPECT_EQ(early.error().code, Code::conflict);
  EXPECT_EQ(world.blobs->size(digest), std::nullopt);
  EXPECT_EQ(world.run(world.blobs->append(digest, 3, "mouse", true)).value_or(99), 8u);
  EXPECT_EQ(world.blobs->size(digest), 8u);
  EXPECT_EQ(content(world.blobs->path(digest)), "dormouse");
  struct stat found{};
  ASSERT_EQ(::stat(world.blobs->path(digest).c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 07777, 0555u);
  EXPECT_EQ(world.run(world.blobs->append(digest, 0, "anything", true)).value_or(99), 8u);
}

TEST(Upload, DropsBytesThatAreNotWhatTheDigestSays) {
  World world;
  const Digest digest = digest_of("dormouse");
  const auto wrong = world.run(world.blobs->append(digest, 0, "doormouse", true));
  EXPECT_EQ(wrong.error().code, Code::invalid_argument);
  EXPECT_EQ(world.run(world.blobs->uploaded(digest)).value_or(99), 0u);
  EXPECT_EQ(world.blobs->size(digest), std::nullopt);
  EXPECT_EQ(world.put("dormouse"), digest);
}

TEST(Upload, HasAMaximum) {
  World world;
  const std::string large((1 << 20) + 1, 'x');
  EXPECT_EQ(world.run(world.blobs->append(digest_of(large), 0, large, true)).error().code,
            Code::too_large);
}

TEST(Adopt, TakesPlainFilesOnly) {
  World world;
  const auto file = world.file("made by a worker");
  fs::create_symlink(file, world.dir / "link");
  fs::create_directory_symlink(world.dir, world.dir / "folder");
  ASSERT_EQ(::mkfifo((world.dir / "fifo").c_str(), 0600), 0);
  for (const char* name : {"link", "folder/file", "fifo", ".", "none"}) {
    const auto refused = world.run(world.blobs->adopt(world.dir / name, 100));
    ASSERT_FALSE(refused) << name;
    EXPECT_EQ(refused.error().code, Code::invalid_argument) << name;
  }
  EXPECT_EQ(world.run(world.blobs->adopt(file, 15)).error().code, Code::too_large);
  const auto adopted = world.run(world.blobs->adopt(file, 16));
  ASSERT_TRUE(adopted);
  EXPECT_EQ(content(world.blobs->path(*adopted)), "made by a worker");
  fs::create_hard_link(file, world.dir / "second name");
  EXPECT_EQ(world.run(world.blobs->adopt(file, 16)).error().code, Code::invalid_argument);
}

TEST(LayOut, MakesATreeOfLinksOnce) {
  World world;
  const Digest model = world.put("model"), keys = world.put("keys");
  auto make = [&](std::string path) {
    return world.run(world.blobs->lay_out("tree", {{"model.onnx", model}, {path, keys}}));
  };
  for (const char* bad : {"", "/a", "a/", "a//b", "../a", "a/../b", ".", "model.onnx/x"}) {
    ASSERT_FALSE(make(bad)) << bad;
    EXPECT_FALSE(fs::exists(world.dir / "blobs/trees/tree"));
  }
  const auto tree = make("deep/er/keys.txt");
  ASSERT_TRUE(tree);
  EXPECT_EQ(content(*tree / "deep/er/keys.txt"), "keys");
  EXPECT_EQ(fs::hard_link_count(world.blobs->path(model)), 2u);
  EXPECT_EQ(*make("deep/er/keys.txt"), *tree);
  EXPECT_EQ(world.run(world.blobs->lay_out("other", {{"a", digest_of("not here")}})).error().code,
            Code::not_found);
}

TEST(LayOut, MakesAProgramOfABlobThatIsNone) {
  World world;
  const Digest program = world.put("#!/bin/sh");
  ASSERT_EQ(::chmod(world.blobs->path(program).c_str(), 0444), 0);
  const auto tree = world.run(world.blobs->lay_out("tree", {{"bootstrap", program}}));
  ASSERT_TRUE(tree);
  EXPECT_EQ(::access((*tree / "bootstrap").c_str(), X_OK), 0);
  struct stat found{};
  ASSERT_EQ(::stat(world.blobs->path(program).c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 07777, 0555u);
}

TEST(Collect, KeepsWhatIsNamedOrYoung) {
  World world;
  const Digest live = world.put("live"), dead = world.put("dead!");
  ASSERT_TRUE(world.run(world.blobs->lay_out("kept", {{"a", live}})));
  ASSERT_TRUE(world.run(world.blobs->lay_out("gone", {{"a", dead}})));
  const Digest partial = digest_of("partial");
  ASSERT_TRUE(world.run(world.blobs->append(partial, 0, "par", false)));
  const Duration hour = std::chrono::hours(1);
  EXPECT_EQ(world.run(world.blobs->collect({live}, {"kept"}, hour)).value_or(99), 0u);
  EXPECT_EQ(world.run(world.blobs->collect({live}, {"kept"}, Duration(0))).value_or(99), 8u);
  EXPECT_EQ(world.blobs->size(live), 4u);
  EXPECT_EQ(world.blobs->size(dead), std::nullopt);
  EXPECT_FALSE(fs::exists(world.dir / "blobs/trees/gone"));
  EXPECT_TRUE(fs::exists(world.dir / "blobs/trees/kept/a"));
  EXPECT_EQ(world.run(world.blobs->append(partial, 0, "partial", true)).value_or(99), 7u);
}

// A deploy that was told that a blob is here does not send it again.
TEST(Collect, KeepsWhatWasAskedForLately) {
  World world;
  const Digest asked = world.put("asked for"), forgotten = world.put("forgotten");
  for (const Digest& each : {asked, forgotten}) {
    const timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    ASSERT_EQ(::utimensat(AT_FDCWD, world.blobs->path(each).c_str(), times, 0), 0);
  }
  EXPECT_EQ(world.blobs->size(asked), 9u);
  const Duration hour = std::chrono::hours(1);
  EXPECT_EQ(world.run(world.blobs->collect({}, {}, hour)).value_or(99), 9u);
  EXPECT_EQ(world.blobs->size(asked), 9u);
  EXPECT_EQ(world.blobs->size(forgotten), std::nullopt);
}

// Also one that lies there for long is used by who lays it out.
TEST(Collect, KeepsATreeThatWasLaidOutLately) {
  World world;
  const Digest blob = world.put("blob");
  for (const char* name : {"used", "unused"}) {
    ASSERT_TRUE(world.run(world.blobs->lay_out(name, {{"a", blob}})));
    const timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    const fs::path tree = world.dir / "blobs/trees" / name;
    ASSERT_EQ(::utimensat(AT_FDCWD, tree.c_str(), times, 0), 0);
  }
  ASSERT_TRUE(world.run(world.blobs->lay_out("used", {{"a", blob}})));
  ASSERT_TRUE(world.run(world.blobs->collect({blob}, {}, std::chrono::hours(1))));
  EXPECT_TRUE(fs::exists(world.dir / "blobs/trees/used/a"));
  EXPECT_FALSE(fs::exists(world.dir / "blobs/trees/unused"));
}

TEST(Discard, TakesWhatIsYoungButNotWhatSomebodyClaims) {
  World world;
  const Digest gone = world.put("gone!"), asked = world.put("asked"), other = world.put("other");
  ASSERT_TRUE(world.run(world.blobs->lay_out("tree", {{"a", gone}})));
  ASSERT_TRUE(world.run(world.blobs->lay_out("kept", {{"a", other}})));
  EXPECT_EQ(world.run(world.blobs->discard({gone, asked}, {})).value_or(99), 0u);
  world.blobs->settle({gone, asked, other}, 0);
  EXPECT_EQ(world.blobs->claim(asked), 5u);
  EXPECT_EQ(world.run(world.blobs->discard({gone, asked}, {"tree"})).value_or(99), 5u);
  EXPECT_EQ(world.blobs->size(gone), std::nullopt);
  EXPECT_EQ(world.blobs->claim(gone), std::nullopt);
  EXPECT_EQ(world.blobs->size(asked), 5u);
  EXPECT_EQ(world.blobs->size(other), 5u);
  EXPECT_FALSE(fs::exists(world.dir / "blobs/trees/tree"));
  EXPECT_TRUE(fs::exists(world.dir / "blobs/trees/kept/a"));
  world.blobs->settle({asked}, 1);  // The last one is its own.
  EXPECT_EQ(world.run(world.blobs->discard({asked}, {})).value_or(99), 0u);
  world.blobs->settle({asked}, 0);
  EXPECT_EQ(world.run(world.blobs->discard({asked}, {})).value_or(99), 5u);
  EXPECT_EQ(world.put("gone!"), gone);  // It can be uploaded again.
}

// Whoever asks meanwhile is told that it is not here, and sends it again.
TEST(Discard, TakesTurnsWithWhoeverAsksMeanwhile) {
  World world;
  const Digest digest = world.put("blob");
  world.blobs->settle({digest}, 0);
  asio::io_context io;
  auto discarding = asio::co_spawn(io, world.blobs->discard({digest}, {}), asio::use_future);
  io.poll();  // It waits for its thread, or for being told of its end.
  auto sending = asio::co_spawn(io, world.blobs->append(digest, 0, "blob", true), asio::use_future);
  io.run();
  EXPECT_EQ(discarding.get().value_or(99), 4u);
  EXPECT_EQ(sending.get().value_or(99), 4u);
  EXPECT_EQ(world.blobs->size(digest), 4u);
  EXPECT_EQ(world.run(world.blobs->discard({digest}, {})).value_or(99), 0u);
}

// Who adopts learns of it later than the thread that does.
TEST(Discard, LeavesWhatWasJustAdopted) {
  World world;
  const Digest digest = world.put("blob");
  world.blobs->settle({digest}, 0);
  asio::io_context io;
  std::optional<Result<Digest>> adopted;
  auto adopting = World::keep(world.blobs->adopt(world.file("blob"), 9), &adopted);
  auto kept = asio::co_spawn(io, std::move(adopting), asio::use_future);
  auto discarding = asio::co_spawn(io, world.blobs->discard({digest}, {}), asio::use_future);
  io.run();
  EXPECT_EQ(**adopted, digest);
  EXPECT_EQ(discarding.get().value_or(99), 0u);
  EXPECT_EQ(world.run(world.blobs->discard({digest}, {})).value_or(99), 0u);
  EXPECT_EQ(world.blobs->size(digest), 4u);
}

TEST(Upload, KeepsNothingOfAChunkThatTheDiskRefuses) {
  World world;
  const std::string text(10'000, 'x');
  const Digest digest = digest_of(text);
  ASSERT_TRUE(world.run(world.blobs->append(digest, 0, text.substr(0, 4000), false)));
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const rlimit full{5000, before.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &full);
  const std::string rest = text.substr(4000);
  const auto refused = world.run(world.blobs->append(digest, 4000, rest, true));
  ::setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_EQ(refused.error().code, Code::unavailable);
  EXPECT_EQ(world.run(world.blobs->uploaded(digest)).value_or(99), 4000u);
  EXPECT_EQ(world.run(world.blobs->append(digest, 4000, rest, true)).value_or(99), 10'000u);
}

TEST(Upload, OfManyAtOnceKeepsThemApart) {
  World world;
  std::vector<std::string> texts;
  for (int n = 0; n < 100; ++n) texts.push_back("text " + std::to_string(n));
  for (const std::string& text : texts) {
    EXPECT_TRUE(world.run(world.blobs->append(digest_of(text), 0, text.substr(0, 3), false)));
  }
  for (const std::string& text : texts) {
    EXPECT_TRUE(world.run(world.blobs->append(digest_of(text), 3, text.substr(3), true)));
    EXPECT_EQ(content(world.blobs->path(digest_of(text))), text);
  }
}

TEST(Adopt, IsNotFooledByAFileThatChangesMeanwhile) {
  World world;
  const auto file = world.dir / "file", spare = world.dir / "spare", link = world.dir / "link";
  std::ofstream(world.dir / "secret") << "secret";
  std::atomic<bool> stop = false;
  std::thread swapping([&] {
    for (int n = 0; !stop; ++n) {
      std::ofstream(spare) << std::string(static_cast<std::size_t>(n % 5000), 'a' + n % 20);
      fs::rename(spare, file);
      std::ofstream(file, std::ios::app) << "more";
      std::error_code ignored;
      fs::remove(link, ignored);
      fs::create_symlink(world.dir / "secret", link, ignored);
      fs::rename(link, file, ignored);
    }
  });
  int adopted = 0;
  // Until some came through: the other thread may be slow to begin, or to be let run.
  for (int race = 0; race < 1000 || (adopted < 10 && race < 1'000'000); ++race) {
    const auto digest = world.run(world.blobs->adopt(file, 1 << 20));
    if (!digest) continue;
    ++adopted;
    const std::string bytes = content(world.blobs->path(*digest));
    EXPECT_EQ(digest_of(bytes), *digest);
    EXPECT_NE(bytes, "secret");
  }
  stop = true;
  swapping.join();
  EXPECT_GT(adopted, 0);
}

}  // namespace
}  // namespace dormouse::blobs
