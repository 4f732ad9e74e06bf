#include "conversations/conversations.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <fstream>
#include <thread>

#include "async/sim_clock.h"
#include "conversations/page.h"

namespace dormouse::conversations {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

Key key(std::string name, std::string function = "f", std::string digest = "d") {
  return {{"default", std::move(function), std::move(digest)}, std::move(name)};
}

std::shared_ptr<const wire::Descriptor> memfd(const std::string& text) {
  wire::Descriptor made(memfd_create("state", MFD_CLOEXEC));
  CHECK(write(made.number(), text.data(), text.size()) == std::ssize(text));
  return std::make_shared<const wire::Descriptor>(std::move(made));
}

// A real folder, with processes that come and go.
struct World {
  World() {
    char name[] = "/tmp/dormouse-conversations-XXXXXX";
    CHECK(mkdtemp(name));
    options.dir = fs::path(name) / "conversations";
    start();
  }
  ~World() {
    it.reset();
    fs::remove_all(options.dir.parent_path());
  }
  void start() {
    it.reset();
    io = std::make_unique<asio::io_context>();
    clock = std::make_unique<async::SimClock>(*io);
    it = *open(io->get_executor(), clock.get(), options);
  }
  template <class T>
  T run(asio::awaitable<T> work) {
    auto result = asio::co_spawn(*io, std::move(work), asio::use_future);
    while (result.wait_for(0s) != std::future_status::ready) {
      io->restart();
      io->run_one_for(1ms);
    }
    return result.get();
  }
  void keep(const Key& of, const std::string& text) {
    it->keep(of, memfd(text), text.size());
    run(it->close());
  }
  std::string found(const Key& of) {
    const auto state = run(it->find(of));
    if (!state) return "nothing";
    std::string text(state->size, '\0');
    CHECK(pread(state->file.number(), text.data(), text.size(),
                static_cast<off_t>(state->offset)) == std::ssize(text));
    return text;
  }
  fs::path place(const Key& of) const { return options.dir / place_of(of); }

  Options options;
  std::unique_ptr<asio::io_context> io;
  std::unique_ptr<async::SimClock> clock;
  std::unique_ptr<Conversations> it;
};

TEST(Conversations, KeepTheLastStateOfEachAndGiveItToNoOtherKey) {
  World world;
  world.keep(key("a"), "first");
  world.keep(key("a"), "second, and longer");
  world.keep(key("b"), "of b");
  EXPECT_EQ(world.found(key("a")), "second, and longer");
  EXPECT_EQ(world.found(key("b")), "of b");
  EXPECT_EQ(world.found(key("a", "g")), "nothing");
  EXPECT_EQ(world.found(key("a", "f", "e")), "nothing");
  EXPECT_EQ(world.found({{"other", "f", "d"}, "a"}), "nothing");
}

TEST(Conversations, AreFoundAsTheyWereKeptLastThoughThatIsStillBeingWritten) {
  World world;
  for (int turn = 0; turn < 50; ++turn) {
    const std::string said = "turn " + std::to_string(turn) + std::string(100'000, '.');
    world.it->keep(key("a"), memfd(said), said.size());
    ASSERT_EQ(world.found(key("a")).substr(0, 10), said.substr(0, 10));
  }
  world.run(world.it->close());
}

TEST(Conversations, AreThereAfterARestartAndForNobodyElseToRead) {
  World world;
  world.keep(key("a"), "kept");
  struct stat found{};
  ASSERT_EQ(stat(world.place(key("a")).c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0600u);
  ASSERT_EQ(stat(world.options.dir.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0700u);
  world.start();
  EXPECT_EQ(world.found(key("a")), "kept");
}

TEST(Conversations, CannotBeWrittenToByWhoIsGivenOne) {
  World world;
  world.keep(key("a"), "kept");
  const auto state = world.run(world.it->find(key("a")));
  ASSERT_TRUE(state);
  EXPECT_EQ(pwrite(state->file.number(), "x", 1, 4096), -1);
  EXPECT_EQ(mmap(nullptr, 4096, PROT_WRITE, MAP_SHARED, state->file.number(), 0), MAP_FAILED);
}

TEST(Conversations, ThatAreNotWholeAreNotThere) {
  struct {
    const char* why;
    std::function<void(const fs::path&)> damage;
  } rows[] = {
      {"it is cut", [](const fs::path& file) { fs::resize_file(file, 4096 + 2); }},
      {"it is longer", [](const fs::path& file) { fs::resize_file(file, 4096 + 9); }},
      {"it is cut within its first page", [](const fs::path& f) { fs::resize_file(f, 100); }},
      {"it is empty", [](const fs::path& file) { fs::resize_file(file, 0); }},
      {"it is another's",
       [](const fs::path& file) {
         fs::rename(file.parent_path() / place_of(key("b")).filename(), file);
       }},
      {"it is a link",
       [](const fs::path& file) {
         fs::rename(file, file.string() + "x");
         fs::create_symlink(file.string() + "x", file);
       }},
  };
  for (const auto& row : rows) {
    World world;
    world.keep(key("a"), "kept");
    world.keep(key("b"), "of b");
    row.damage(world.place(key("a")));
    EXPECT_EQ(world.found(key("a")), "nothing") << row.why;
    world.start();
    EXPECT_EQ(world.found(key("a")), "nothing") << row.why;
    EXPECT_FALSE(fs::exists(fs::symlink_status(world.place(key("a"))))) << row.why;
  }
}

TEST(Conversations, AreTheOneBeforeOrTheNextWheneverTheirProcessIsKilled) {
  const std::string before(1 << 20, 'a'), next(3 << 20, 'b');
  for (int delay_us = 0; delay_us < 6'000; delay_us += 250) {
    World world;
    world.keep(key("a"), before);
    const pid_t child = fork();
    if (child == 0) {
      asio::io_context io;  // And threads of its own.
      async::SimClock clock(io);
      const auto it = *open(io.get_executor(), &clock, world.options);
      it->keep(key("a"), memfd(next), next.size());
      for (;;) pause();
    }
    usleep(static_cast<useconds_t>(delay_us));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    world.start();
    const std::string there = world.found(key("a"));
    EXPECT_TRUE(there == before || there == next) << there.size();
    EXPECT_FALSE(fs::exists(world.place(key("a")).string() + ".new"));
  }
}

TEST(Conversations, ThatAreDroppedWhileTheyAreWrittenAreGone) {
  World world;
  const std::string text(5 << 20, 'a');
  world.it->keep(key("a"), memfd(text), text.size());
  world.it->drop_function("default", "f");
  world.keep(key("b"), "x");
  EXPECT_EQ(world.found(key("a")), "nothing");
  world.start();
  EXPECT_EQ(world.it->of("default", "f").size(), 1u);
}

TEST(Conversations, StayWithinTheirBounds) {
  World world;
  world.options.bytes_max = 100;
  world.options.size_max = 60;
  world.start();
  world.keep(key("a"), std::string(50, 'a'));
  world.keep(key("b"), std::string(50, 'b'));
  EXPECT_NE(world.found(key("a")), "nothing");  // It is used now.
  world.keep(key("c"), std::string(50, 'c'));
  EXPECT_EQ(world.found(key("b")), "nothing");
  EXPECT_NE(world.found(key("a")), "nothing");
  world.keep(key("a"), std::string(61, 'x'));
  EXPECT_EQ(world.found(key("a")), std::string(50, 'a'));  // What is too large changes nothing.
  EXPECT_FALSE(fs::exists(world.place(key("b"))));
  world.keep(key("a"), std::string(50, 'A'));  // In its own place.
  EXPECT_NE(world.found(key("c")), "nothing");
  EXPECT_EQ(world.found(key("a")), std::string(50, 'A'));
  world.options.bytes_max = 60;  // And so it is with less, from the start.
  world.start();
  EXPECT_EQ(world.it->of("default", "f").size(), 1u);
}

TEST(Conversations, GoWithTheirFunctionTheirRevisionOrByName) {
  World world;
  world.keep(key("a", "f", "1"), "x");
  world.keep(key("a", "f", "2"), "x");
  world.keep(key("b", "f", "2"), "x");
  world.keep(key("a", "g", "1"), "x");
  EXPECT_FALSE(world.it->drop("default", "f", "c"));
  EXPECT_TRUE(world.it->drop("default", "f", "b"));
  EXPECT_EQ(world.found(key("b", "f", "2")), "nothing");
  world.it->retain({{"default", "f", "2"}, {"default", "g", "1"}});
  EXPECT_EQ(world.found(key("a", "f", "1")), "nothing");
  EXPECT_EQ(world.found(key("a", "f", "2")), "x");
  world.it->drop_function("default", "f");
  EXPECT_EQ(world.found(key("a", "f", "2")), "nothing");
  EXPECT_EQ(world.found(key("a", "g", "1")), "x");
  world.start();
  EXPECT_TRUE(world.it->of("default", "f").empty());
  EXPECT_EQ(world.it->of("default", "g").size(), 1u);
}

TEST(Conversations, ThatCannotBeWrittenAreNotThere) {
  World world;
  world.keep(key("a"), "kept");
  world.it->keep(key("a"), memfd("short"), 6);
  world.run(world.it->close());
  EXPECT_EQ(world.found(key("a")), "nothing");
  fs::remove_all(world.options.dir);
  std::ofstream(world.options.dir) << "in the way";
  world.keep(key("b"), "kept");
  EXPECT_EQ(world.found(key("b")), "nothing");
  EXPECT_TRUE(world.it->of("default", "f").empty());
}

}  // namespace
}  // namespace dormouse::conversations
