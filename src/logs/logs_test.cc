#include "logs/logs.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <fstream>

#include "async/sim_clock.h"
#include "logs/line.h"

namespace dormouse::logs {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

struct World {
  explicit World(Options wanted = {}) : options(wanted) {
    char name[] = "/tmp/dormouse-logs-XXXXXX";
    CHECK(mkdtemp(name));
    options.dir = name;
    restart();
  }
  ~World() {
    logs.reset();
    fs::remove_all(options.dir);
  }
  void restart() {
    logs.reset();
    logs = *open(io.get_executor(), &clock, options);
  }
  void print(std::string text, std::string function = "f") {
    logs->append(function, {0, {5}, 2, "i-1", "", std::move(text)});
  }
  std::vector<std::string> texts(std::uint64_t sequence, std::size_t lines_max = 1000) {
    return texts_of(read({sequence, lines_max}));
  }
  Part read(Wanted wanted) {
    auto result = asio::co_spawn(io, logs->read("f", std::move(wanted)), asio::use_future);
    io.restart();
    io.run();
    return *result.get();
  }
  static std::vector<std::string> texts_of(const Part& part) {
    std::vector<std::string> texts;
    for (const Line& line : part.lines) texts.push_back(line.text);
    return texts;
  }
  Options options;
  asio::io_context io;
  async::SimClock clock{io};
  std::unique_ptr<Logs> logs;
};

using Texts = std::vector<std::string>;

TEST(Line, SurvivesTheFile) {
  const Line line{7, {1'700'000'000'000}, 3, "i-1", "", "two  words"};
  EXPECT_EQ(encode(line, 100), "7 1700000000000 3 i-1 - two  words\n");
  const auto back = decode("7 1700000000000 3 i-1 - two  words");
  ASSERT_TRUE(back);
  EXPECT_EQ(back->sequence, 7u);
  EXPECT_EQ(back->at, line.at);
  EXPECT_EQ(back->invocation, "");
  EXPECT_EQ(back->text, "two  words");
  for (const char* bad : {"", "7", "7 1 3 i", "x 1 3 i - t", "7 1 3000000000 i - t"}) {
    EXPECT_FALSE(decode(bad)) << bad;
  }
}

TEST(Line, IsCutAndSaysSo) {
  EXPECT_EQ(encode({1, {2}, 3, "i", "a b", "0123\n56789"}, 6),
            "1 2 3 i a_b 0123 5 [cut: 10 bytes]\n");
}

TEST(Line, IsFoundByItsNumber) {
  std::string file;
  for (std::uint64_t n = 10; n <= 100; n += 10) {
    file += encode({n, {0}, 1, "i", "", std::string(n, 'x')}, 1000);
  }
  for (std::uint64_t after = 0; after <= 110; ++after) {
    const std::size_t at = begin_after(file, after);
    const std::string wanted = after >= 100 ? "" : std::to_string(after / 10 * 10 + 10) + " ";
    EXPECT_EQ(file.substr(at, wanted.size()), wanted) << after;
    if (after >= 100) EXPECT_EQ(at, file.size());
  }
  EXPECT_EQ(file.substr(begin_of_last(file, 1), 4), "100 ");
  EXPECT_EQ(file.substr(begin_of_last(file, 3), 3), "80 ");
  EXPECT_EQ(begin_of_last(file, 99), 0u);
  EXPECT_EQ(begin_of_last(file, 0), file.size());
}

TEST(Logs, AreReadFromANumberOrFromTheEndAlsoAfterARestart) {
  World world;
  for (const char* text : {"a", "b", "c"}) world.print(text);
  EXPECT_EQ(world.texts(0), (Texts{"a", "b", "c"}));
  EXPECT_EQ(world.texts(0, 2), (Texts{"b", "c"}));
  EXPECT_EQ(world.texts(1), (Texts{"b", "c"}));
  EXPECT_EQ(world.texts(1, 1), (Texts{"b"}));
  std::ofstream(world.options.dir / "f.new.log", std::ios::app) << "4 5 2 i-1 - to";
  world.restart();
  EXPECT_EQ(world.logs->last("f"), 3u);
  world.print("d");
  EXPECT_EQ(world.logs->last("f"), 4u);
  EXPECT_EQ(world.texts(2), (Texts{"c", "d"}));
  world.logs->remove("f");
  EXPECT_EQ(world.texts(0), Texts{});
}

// Of all that there is, however many lines of others came after.
TEST(Logs, GiveOneCallsLinesAlone) {
  World world;
  const auto print = [&](const std::string& invocation, const std::string& text) {
    world.logs->append("f", {.revision = 1, .invocation = invocation, .text = text});
  };
  for (int i = 0; i < 300; ++i) {
    print(i % 100 == 0 ? "one" : "other", std::to_string(i));
    print("", "one");  // The id as a text is not the id.
  }
  const Part all = world.read({.invocation = "one"});
  EXPECT_EQ(world.texts_of(all), (Texts{"0", "100", "200"}));
  EXPECT_EQ(all.until, 600u);
  EXPECT_EQ(world.texts_of(world.read({.lines_max = 2, .invocation = "one"})),
            (Texts{"100", "200"}));
  const Part next = world.read({.after = 1, .lines_max = 1, .invocation = "one"});
  EXPECT_EQ(world.texts_of(next), (Texts{"100"}));
  EXPECT_EQ(next.until, 201u);
  const Part none = world.read({.after = next.until + 200, .invocation = "one"});
  EXPECT_EQ(world.texts_of(none), Texts{});
  EXPECT_EQ(none.until, 600u);
}

// Who follows goes on after what could not be written, and does not ask for it again and again.
TEST(Logs, AreReadBeyondWhatWasDropped) {
  World world({.line_bytes_max = 1000, .pending_bytes_max = 150});
  world.print(std::string(500, 'x'));
  EXPECT_EQ(world.read({}).until, 1u);
}

void expect_bounded_tail(World& world, const std::string& last) {
  const Texts kept = world.texts(0);
  EXPECT_GT(kept.size(), 40u);
  EXPECT_EQ(kept.back(), last);
  std::uint64_t bytes = 0;
  for (const auto& file : fs::directory_iterator(world.options.dir)) bytes += file.file_size();
  EXPECT_LE(bytes, world.options.bytes_max);
}

TEST(Logs, KeepABoundedTail) {
  World world({.bytes_max = 2000});
  for (int i = 0; i < 1000; ++i) world.print(std::to_string(i));
  expect_bounded_tail(world, "999");
}

TEST(Logs, NumberEachLineOfAChunk) {
  World world;
  world.print("a\n\nb");
  EXPECT_EQ(world.logs->last("f"), 3u);
  world.print("c\n");
  EXPECT_EQ(world.logs->last("f"), 5u);
  EXPECT_EQ(world.texts(0), (Texts{"a", "", "b", "c", ""}));
  EXPECT_EQ(world.texts(2), (Texts{"b", "c", ""}));
  world.restart();
  EXPECT_EQ(world.logs->last("f"), 5u);
}

TEST(Logs, KeepABoundedTailOfChunks) {
  World world({.bytes_max = 2000});
  std::string chunk;
  for (int i = 0; i < 300; ++i) chunk += (i > 0 ? "\n" : "") + std::to_string(i);
  world.print(chunk);
  expect_bounded_tail(world, "299");
}

TEST(Logs, CountTheLinesOfAChunkThatTheyDrop) {
  World world({.line_bytes_max = 1000, .pending_bytes_max = 300});
  world.print("a\nb\nc\nd");  // Does not fit, with what lies beside each line.
  world.print("short");
  EXPECT_EQ(world.texts(0), (Texts{"[4 lines were dropped here]", "short"}));
  EXPECT_EQ(world.logs->last("f"), 6u);
}

TEST(Logs, CountWhatTheyDrop) {
  World world({.line_bytes_max = 1000, .pending_bytes_max = 150});
  for (int i = 0; i < 3; ++i) world.print(std::string(500, 'x'));  // Never fits.
  EXPECT_EQ(world.texts(0), Texts{});
  world.print("short");
  EXPECT_EQ(world.texts(0), (Texts{"[3 lines were dropped here]", "short"}));
  EXPECT_EQ(world.logs->last("f"), 5u);
}

TEST(Logs, WakeWhoeverFollows) {
  World world;
  auto first = asio::co_spawn(world.io, world.logs->wait("f", 0, TimePoint(1h)), asio::use_future);
  auto late = asio::co_spawn(world.io, world.logs->wait("f", 1, TimePoint(1min)), asio::use_future);
  world.clock.run_until(TimePoint(10s));
  EXPECT_NE(first.wait_for(0s), std::future_status::ready);
  world.print("a");
  world.clock.run_until(TimePoint(20s));
  EXPECT_EQ(first.wait_for(0s), std::future_status::ready);
  EXPECT_NE(late.wait_for(0s), std::future_status::ready);
  world.clock.run_until(TimePoint(2min));
  EXPECT_EQ(late.wait_for(0s), std::future_status::ready);
}

}  // namespace
}  // namespace dormouse::logs
