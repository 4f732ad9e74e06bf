#include "ledger/tail.h"

#include <fstream>

#include "ledger/fake_world.h"

namespace dormouse::ledger {
namespace {

TEST(Tail, HasWhatTheDiskRefusesUntilThereIsRoom) {
  World world;
  world.call(1);
  world.settle();
  const auto size = fs::file_size(world.segments().front());
  {
    const FullDisk full(size + 20);
    world.call(2);
    world.clock->run_until(world.clock->now() + 100ms);  // It was to be written.
    EXPECT_EQ(fs::file_size(world.segments().front()), size);
    world.ledger->begin(world.begun(3));
    EXPECT_EQ(world.ledger->flush().error().code, Code::unavailable);
    for (const std::uint64_t known : {1, 2}) {
      const auto found = world.run(world.ledger->find(world.begun(known).key));
      EXPECT_TRUE(found && *found) << known;
    }
  }
  world.call(4);
  EXPECT_EQ(world.total(), (Sum{"", 3, 0, 6, 768, {300}}));
  world.settle();
  EXPECT_TRUE(*world.run(world.ledger->find(world.begun(2).key)));
  world.restart();
  ASSERT_EQ(world.problem, "");
  EXPECT_EQ(world.total(), (Sum{"", 3, 0, 6, 768, {300}}));
}

TEST(Tail, OutlivesItsProcessOnAFullDisk) {
  World world;
  world.call(1);
  world.settle();
  const auto size = fs::file_size(world.segments().front());
  {
    const FullDisk full(size + 20);
    world.call(2);
    world.restart();
    EXPECT_NE(world.problem, "");
    EXPECT_EQ(fs::file_size(world.segments().front()), size);
  }
  world.restart();
  ASSERT_EQ(world.problem, "");
  EXPECT_EQ(world.total(), (Sum{"", 2, 0, 4, 512, {200}}));
}

class TailLeft : public testing::Test {
 protected:
  // Three calls are on record when the process dies, the first of them in the segment.
  void SetUp() override {
    world.call(1);
    world.settle();
    written = size();
    world.call(2);
    world.call(3);
    world.crash();
    ASSERT_EQ(size(), written);
    left = *Tail::left_in(world.options.dir);
    ASSERT_EQ(left.place.offset, written);
    batch = batch_of(left);
  }

  fs::path segment() const { return world.segments().front(); }
  std::uint64_t size() const { return fs::file_size(segment()); }
  void append(std::string_view bytes) const {
    std::ofstream(segment(), std::ios::binary | std::ios::app) << bytes;
  }
  void overwrite(std::uint64_t at, std::string_view bytes) const {
    std::fstream file(world.options.dir / "tail", std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(at));
    file << bytes;
  }
  std::int64_t read_calls() const {
    std::int64_t ended = 0;
    const auto read = read_all(world.options.dir, [&](const Begun*, const Receipt* receipt) {
      ended += receipt != nullptr;
    });
    EXPECT_TRUE(read) << read.error().message;
    return ended;
  }
  // Whoever reads the folder, and a next start, see as many calls.
  void expect_calls(std::int64_t calls, std::int64_t failed = 0) {
    EXPECT_EQ(read_calls(), calls - failed);
    world.start();
    ASSERT_EQ(world.problem, "");
    EXPECT_EQ(world.total().calls, calls);
    EXPECT_EQ(world.total().failed, failed);
    world.restart();
    EXPECT_EQ(world.total().calls, calls);
  }

  static constexpr std::uint64_t header = 56;  // Of the tail's file.
  World world;
  std::uint64_t written = 0;
  Tail::Left left;
  std::string batch;  // As which it is to be in the segment.
};

TEST_F(TailLeft, IsWrittenAtTheNextStart) {
  expect_calls(3);
}

TEST_F(TailLeft, IsWrittenOnceHoweverMuchOfItIsThere) {
  for (const std::size_t there : {std::size_t{1}, batch.size() / 2, batch.size() - 1}) {
    fs::resize_file(segment(), written);
    append(std::string_view(batch).substr(0, there));
    EXPECT_EQ(read_calls(), 3) << there;
  }
  expect_calls(3);
}

TEST_F(TailLeft, IsNotWrittenTwice) {
  append(batch);
  expect_calls(3);
}

TEST_F(TailLeft, TakesThePlaceOfATornEnd) {
  append(std::string(7, 'x'));
  expect_calls(3);
}

TEST_F(TailLeft, IsTakenAsFarAsItIsGood) {
  overwrite(header + left.records.size() + 3 * 8, "x");  // In the last of its four groups.
  expect_calls(3, 1);  // The end of the last call is lost, as after a power cut.
}

TEST_F(TailLeft, IsNothingIfItIsOfAnotherTime) {
  fs::copy(world.options.dir / "tail", world.dir / "old");
  world.start();
  world.call(4);
  world.settle();
  world.crash();
  fs::copy(world.dir / "old", world.options.dir / "tail", fs::copy_options::overwrite_existing);
  expect_calls(4);
}

// Which a power cut may leave, and then what is damaged is to be seen, and not to be cut off.
TEST_F(TailLeft, IsNothingIfItsSegmentGoesOnBehindIt) {
  fs::copy(world.options.dir / "tail", world.dir / "old");
  world.start();
  for (std::uint64_t n = 4; n < 20; ++n) world.call(n);
  world.settle();
  world.crash();
  fs::copy(world.dir / "old", world.options.dir / "tail", fs::copy_options::overwrite_existing);
  const auto whole = size();
  std::fstream file(segment(), std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(written + batch.size() / 2));
  file.put('\x55');
  file.close();
  EXPECT_FALSE(read_all(world.options.dir, [](const Begun*, const Receipt*) {}));
  world.start();
  EXPECT_NE(world.problem, "");
  EXPECT_EQ(size(), whole);
}

TEST_F(TailLeft, IsNothingIfItsSegmentEndsBeforeIt) {
  fs::resize_file(segment(), written - 1);
  EXPECT_EQ(read_calls(), 0);
}

TEST_F(TailLeft, IsNothingIfItMakesNoSense) {
  overwrite(header - 8, std::string(8, '\xff'));  // Its length.
  expect_calls(1);
}

// A power cut may leave the page with its length, and others as they were in another process.
TEST_F(TailLeft, HasNothingOfAnothersGroups) {
  overwrite(16, "12345678");  // By which it tells itself from others.
  expect_calls(1);
}

TEST_F(TailLeft, IsNotPassedOverIfItIsOfAnotherVersion) {
  overwrite(8, std::string("\1\0\0\0", 4));
  EXPECT_FALSE(read_all(world.options.dir, [](const Begun*, const Receipt*) {}));
  world.start();
  EXPECT_NE(world.problem.find("tail is of version 1"), std::string::npos) << world.problem;
  EXPECT_EQ(size(), written);
}

TEST(Tail, IsRemovedWhereItIsNotUsed) {
  World world;
  world.call(1);
  world.crash();
  world.options.has_tail = false;
  world.start();
  EXPECT_FALSE(fs::exists(world.options.dir / "tail"));
  EXPECT_EQ(world.total().calls, 1);
}

TEST(Tail, IsPassedByABatchThatIsLargerThanIt) {
  World world;
  world.call(1);
  const std::string long_name(tail_bytes_max, 'f');
  world.call(2, long_name);
  world.call(3);
  world.restart();
  ASSERT_EQ(world.problem, "");
  EXPECT_EQ(world.total(), (Sum{"", 3, 0, 6, 768, {300}}));
}

TEST(Tail, IsWrittenWhenItIsFull) {
  World world;
  std::uint64_t calls = 0;
  for (const auto before = fs::file_size(world.segments().front());
       fs::file_size(world.segments().front()) == before;) {
    ASSERT_LT(calls, tail_bytes_max / 100);
    world.call(++calls);
  }
  EXPECT_GT(calls, tail_bytes_max / 1000);
  world.restart();
  ASSERT_EQ(world.problem, "");
  EXPECT_EQ(world.total().calls, static_cast<std::int64_t>(calls));
}

}  // namespace
}  // namespace dormouse::ledger
