#include "ledger/ledger.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>

#include <fstream>
#include <limits>
#include <set>

#include "async/sim_clock.h"
#include "ledger/segment.h"
#include "ledger/tail.h"

namespace dormouse::ledger {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

// A ledger on a real folder, with the time in our hands.
struct World {
  explicit World(Options chosen = {}) : options(std::move(chosen)) {
    char name[] = "/tmp/dormouse-ledger-XXXXXX";
    CHECK(mkdtemp(name));
    dir = name;
    options.dir = dir / "ledger";
    start();
  }
  ~World() {
    crash();
    fs::remove_all(dir);
  }
  void start() {
    io = std::make_unique<asio::io_context>();
    clock = std::make_unique<async::SimClock>(*io);
    store = *store::open(dir / "x.db", migrations());
    auto opened = open(io->get_executor(), clock.get(), store.get(), options);
    problem = opened ? "" : opened.error().message;
    if (opened) ledger = *std::move(opened);
  }
  void crash() {
    ledger.reset();
    store.reset();  // Its thread answers into `io`.
    io.reset();
  }
  void restart() {
    crash();
    start();
  }
  template <class T>
  T run(asio::awaitable<T> work) {
    auto result = asio::co_spawn(*io, std::move(work), asio::use_future);
    while (result.wait_for(0s) != std::future_status::ready) {
      clock->run_until(clock->now() + 100ms);
    }
    return result.get();
  }

  Begun begun(std::uint64_t n, std::string function = "f") const {
    const WallTime at{1'700'000'000'000 + static_cast<std::int64_t>(n)};
    return {{InvocationId::make(at, {n, n}), 1},
            "default",
            std::move(function),
            3,
            std::string(64, 'a'),
            "node",
            at};
  }
  Receipt receipt(std::uint64_t n, std::string function = "f") const {
    Receipt r;
    r.begun = begun(n, std::move(function));
    r.run = 1500us;
    r.billed_ms = 2;
    r.declared_memory_bytes = 128 << 20;
    r.price = {100};
    return r;
  }
  void call(std::uint64_t n, std::string function = "f") {
    ledger->begin(begun(n, function));
    ASSERT_TRUE(ledger->flush());
    ledger->end(receipt(n, function));
    ASSERT_TRUE(ledger->flush());
  }
  Sum total() {
    const auto sums = run(ledger->usage({{}, "", false}));
    EXPECT_TRUE(sums) << sums.error().message;
    return sums && !sums->empty() ? sums->front() : Sum{};
  }

  // Lets the ledger sync and count what it has, in at least 2 s of its time.
  // Time here is simulated, but the ledger's thread and its disk are real: they get a moment, too.
  void settle() {
    for (int i = 0; i < 20; ++i) {
      clock->run_until(clock->now() + 100ms);
      usleep(2000);
      (void)total();
    }
  }
  std::vector<fs::path> segments() const {
    std::set<fs::path> sorted;
    for (const auto& entry : fs::directory_iterator(options.dir)) {
      if (entry.path().extension() == ".ledger") sorted.insert(entry.path());
    }
    return {sorted.begin(), sorted.end()};
  }

  fs::path dir;
  Options options;
  std::unique_ptr<asio::io_context> io;
  std::unique_ptr<async::SimClock> clock;
  std::unique_ptr<store::Store> store;
  std::unique_ptr<Ledger> ledger;
  std::string problem;
};

TEST(Ledger, FindsAReceiptAndSumsIt) {
  World world;
  world.call(1);
  world.call(2, "g");
  const auto found = world.run(world.ledger->find(world.begun(1).key));
  ASSERT_TRUE(found && *found);
  EXPECT_EQ((*found)->begun.function, "f");
  EXPECT_EQ((*found)->run, 1500us);
  EXPECT_EQ((*found)->price.value, 100);
  const auto missing = world.run(world.ledger->find(world.begun(3).key));
  ASSERT_TRUE(missing);
  EXPECT_FALSE(*missing);
  EXPECT_EQ(world.total(), (Sum{"", 2, 0, 4, 512, {200}}));
  const auto by_function = world.run(world.ledger->usage({}));
  ASSERT_TRUE(by_function);
  ASSERT_EQ(by_function->size(), 2u);
  EXPECT_EQ((*by_function)[1], (Sum{"g", 1, 0, 2, 256, {100}}));
}

TEST(Ledger, CountsAsFailedWhatWasNotTheCallersFault) {
  World world;
  std::uint64_t n = 0;
  for (const Code code : every_code) {
    world.ledger->begin(world.begun(++n));
    Receipt receipt = world.receipt(n);
    receipt.failure = code;
    world.ledger->end(receipt);
    ASSERT_TRUE(world.ledger->flush());
  }
  EXPECT_EQ(world.total().calls, 12);
  EXPECT_EQ(world.total().failed,
            4);  // deadline_exceeded, function_failed, overloaded, unavailable
}

TEST(Ledger, SumsTokensAlsoOfWhatWasThereBefore) {
  World world;
  world.call(1);  // A record without: as every one was before there were any.
  const auto counting = [&](std::uint64_t n) {
    world.ledger->begin(world.begun(n));
    Receipt receipt = world.receipt(n);
    receipt.tokens = {5, 7, 11};
    world.ledger->end(receipt);
    ASSERT_TRUE(world.ledger->flush());
  };
  counting(2);
  world.settle();  // Into the store's rows.
  counting(3);
  EXPECT_EQ(world.total().tokens, (Tokens{10, 14, 22}));
  const auto found = world.run(world.ledger->find(world.begun(3).key));
  ASSERT_TRUE(found && *found);
  EXPECT_EQ((*found)->tokens, (Tokens{5, 7, 11}));
  world.restart();
  EXPECT_EQ(world.total().tokens, (Tokens{10, 14, 22}));
  EXPECT_EQ(world.total().calls, 3);
}

TEST(Record, HasAsManyBytesAsBeforeWithoutTokens) {
  std::string without, with;
  EndedRecord record;
  append_record(without, record);
  EXPECT_EQ(without.size(), 9u + 32 + 3 + 48 + 48);
  record.tokens.generated = 1;
  append_record(with, record);
  EXPECT_EQ(with.size(), without.size() + 24);
  std::string_view rest = with;
  const auto back = take_record(rest);
  ASSERT_TRUE(back);
  EXPECT_EQ(std::get<EndedRecord>(*back).tokens.generated, 1);
}

TEST(Ledger, InterruptsWhatWasRunningAtACrash) {
  World world;
  world.call(1);
  world.ledger->begin(world.begun(2));
  ASSERT_TRUE(world.ledger->flush());
  for (int restarts = 0; restarts < 3; ++restarts) {
    world.restart();
    ASSERT_EQ(world.problem, "");
    const auto found = world.run(world.ledger->find(world.begun(2).key));
    ASSERT_TRUE(found && *found);
    EXPECT_TRUE((*found)->interrupted);
    EXPECT_EQ((*found)->failure, Code::unavailable);
    EXPECT_EQ((*found)->price.value, 0);
    EXPECT_EQ(world.total(), (Sum{"", 2, 1, 2, 256, {100}}));
  }
}

TEST(Ledger, CutsATornEndOff) {
  World world({.has_tail = false});
  world.call(1);
  world.crash();
  const auto segment = world.segments().front();
  fs::resize_file(segment, fs::file_size(segment) - 1);
  world.start();
  ASSERT_EQ(world.problem, "");
  EXPECT_EQ(world.total(), (Sum{"", 1, 1, 0, 0, {0}}));  // Its end was torn: interrupted.
}

TEST(Ledger, GoesOnInTheNextSegmentWithWhatIsRunning) {
  World world;
  world.crash();
  world.options.segment_bytes_max = 2000;
  world.start();
  world.ledger->begin(world.begun(1000));
  for (std::uint64_t n = 1; n <= 100; ++n) {
    world.call(n);
    world.clock->run_until(world.clock->now() + 50ms);
  }
  EXPECT_EQ(world.total().calls, 100);
  for (std::uint64_t n = 1; n <= 100; ++n) {
    const auto found = world.run(world.ledger->find(world.begun(n).key));
    EXPECT_TRUE(found && *found) << n;
  }
  world.restart();
  ASSERT_EQ(world.problem, "");
  EXPECT_EQ(world.total(), (Sum{"", 101, 1, 200, 25600, {10000}}));
  int begun = 0, ended = 0;
  const auto read = read_all(world.options.dir, [&](const Begun* b, const Receipt* r) {
    begun += b != nullptr;
    ended += r != nullptr;
  });
  EXPECT_TRUE(read) << read.error().message;
  EXPECT_EQ(begun, 101);
  EXPECT_EQ(ended, 101);
}

// No file of this process grows beyond a size, so that the disk seems full.
struct FullDisk {
  explicit FullDisk(std::uint64_t bytes) {
    ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before);
    const rlimit limit{bytes, before.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FullDisk() { ::setrlimit(RLIMIT_FSIZE, &before); }
  rlimit before{};
};

TEST(Ledger, ForgetsABatchThatTheDiskRefusesAndGoesOnWhenItHasRoom) {
  World world({.has_tail = false});
  world.ledger->begin(world.begun(1));
  ASSERT_TRUE(world.ledger->flush());
  const auto size = fs::file_size(world.segments().front());
  {
    const FullDisk full(size + 20);  // Even the beginning of the batch that fits is taken back.
    world.ledger->end(world.receipt(1));
    world.ledger->begin(world.begun(2, "another"));
    EXPECT_EQ(world.ledger->flush().error().code, Code::unavailable);
    EXPECT_EQ(fs::file_size(world.segments().front()), size);
    world.ledger->end(world.receipt(2, "another"));  // It never began.
    EXPECT_FALSE(world.ledger->flush());
  }
  world.call(3, "another");
  EXPECT_EQ(world.total(), (Sum{"", 2, 1, 2, 256, {100}}));
  const auto first = world.run(world.ledger->find(world.begun(1).key));
  ASSERT_TRUE(first && *first);
  EXPECT_TRUE((*first)->interrupted);
  world.restart();
  EXPECT_EQ(world.problem, "");
  EXPECT_EQ(world.total(), (Sum{"", 2, 1, 2, 256, {100}}));
}

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
    EXPECT_FALSE(world.run(world.ledger->find(world.begun(2).key)));
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
    left = Tail::left_in(world.options.dir);
    ASSERT_EQ(left.offset, written);
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

  static constexpr std::uint64_t header = 32;  // Of the tail's file.
  World world;
  std::uint64_t written = 0;
  Tail::Left left;
};

TEST_F(TailLeft, IsWrittenAtTheNextStart) {
  expect_calls(3);
}

TEST_F(TailLeft, IsWrittenOnceHoweverMuchOfItIsThere) {
  for (const std::size_t there : {std::size_t{1}, left.bytes.size() / 2, left.bytes.size() - 1}) {
    fs::resize_file(segment(), written);
    append(std::string_view(left.bytes).substr(0, there));
    EXPECT_EQ(read_calls(), 3) << there;
  }
  expect_calls(3);
}

TEST_F(TailLeft, IsNotWrittenTwice) {
  append(left.bytes);
  expect_calls(3);
}

TEST_F(TailLeft, TakesThePlaceOfATornEnd) {
  append(std::string(7, 'x'));
  expect_calls(3);
}

TEST_F(TailLeft, IsTakenAsFarAsItIsGood) {
  overwrite(header + left.bytes.size() - 1, "x");
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

TEST_F(TailLeft, IsNothingIfItsSegmentEndsBeforeIt) {
  fs::resize_file(segment(), written - 1);
  EXPECT_EQ(read_calls(), 0);
}

TEST_F(TailLeft, IsNothingIfItMakesNoSense) {
  overwrite(24, std::string(8, '\xff'));  // Its length.
  expect_calls(1);
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

TEST(Ledger, GivesTheSameSumsHoweverOftenItIsReplayed) {
  World world;
  for (std::uint64_t n = 1; n <= 50; ++n) world.call(n, n % 2 ? "f" : "g");
  world.settle();
  const Sum total = world.total();
  EXPECT_EQ(total.calls, 50);
  for (int replays = 0; replays < 3; ++replays) {
    world.crash();
    fs::remove(world.dir / "x.db");  // All sums are made again from the log.
    world.start();
    ASSERT_EQ(world.problem, "");
    EXPECT_EQ(world.total(), total);
  }
}

TEST(Ledger, CountsEachAttemptOnceWhereverItCrashes) {
  World world;
  world.crash();
  world.options.segment_bytes_max = 3000;
  world.start();
  std::int64_t calls = 0;
  for (std::uint64_t n = 1; n <= 60; ++n) {
    world.call(n);
    ++calls;
    // Before and after a sync, before and after the sums are written, around a new segment.
    for (std::uint64_t turns = 0; turns < n % 5; ++turns) {
      world.clock->run_until(world.clock->now() + 60ms);
    }
    if (n % 4 == 0) world.settle();  // A full segment is left on the ledger's thread.
    if (n % 3 == 0) world.restart();
    ASSERT_EQ(world.problem, "");
    ASSERT_EQ(world.total().calls, calls) << n;
    ASSERT_EQ(world.total().price.value, calls * 100) << n;
  }
  EXPECT_GT(world.segments().size(), 3u);
}

TEST(Ledger, RefusesAnAlteredRecordAndNamesIt) {
  World world;
  for (std::uint64_t n = 1; n <= 20; ++n) world.call(n);
  ASSERT_TRUE(world.run(world.ledger->close()));
  world.crash();
  const auto segment = world.segments().front();
  std::fstream file(segment, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(fs::file_size(segment) / 2));
  file.put('\x55');
  file.close();
  world.start();
  EXPECT_NE(world.problem.find("damaged"), std::string::npos) << world.problem;
  EXPECT_NE(world.problem.find(segment.filename().string()), std::string::npos);
  EXPECT_NE(world.problem.find("record"), std::string::npos) << world.problem;
}

TEST(Ledger, RefusesALogThatEndsBeforeWhatWasCounted) {
  World world;
  world.call(1);
  ASSERT_TRUE(world.run(world.ledger->close()));
  world.crash();
  fs::resize_file(world.segments().front(), fs::file_size(world.segments().front()) - 30);
  world.start();
  EXPECT_NE(world.problem.find("missing"), std::string::npos) << world.problem;
}

TEST(Ledger, SaysSoWhenASumDoesNotFit) {
  World world;
  for (std::uint64_t n = 1; n <= 2; ++n) {
    Receipt receipt = world.receipt(n);
    receipt.price = {std::numeric_limits<std::int64_t>::max()};
    world.ledger->begin(receipt.begun);
    world.ledger->end(receipt);
    ASSERT_TRUE(world.ledger->flush());
    const auto usage = world.run(world.ledger->usage({}));
    if (n == 1) EXPECT_TRUE(usage);
    if (n == 2) EXPECT_EQ(usage.error().code, Code::too_large);
  }
}

TEST(Ledger, LeavesNoTimerBehindWhenAllIsSynced) {
  World world;
  world.call(1);
  world.settle();
  // The thread's last answer may still be on its way.
  for (int looks = 0; looks < 1000 && !world.io->stopped(); ++looks) {
    world.io->restart();
    world.io->poll();
    usleep(1000);
  }
  EXPECT_TRUE(world.io->stopped());  // Nothing is left to wait for.
}

TEST(Ledger, DropsSegmentsThatAreTooOld) {
  World world;
  world.crash();
  world.options.segment_bytes_max = 1500;
  world.options.keep_ms = 1000;
  world.start();
  for (std::uint64_t n = 1; n <= 40; ++n) {
    world.call(n);
    world.settle();
  }
  EXPECT_FALSE(world.segments().front().filename().string().starts_with("00000001"));
  const Sum total = world.total();
  EXPECT_EQ(total.calls, 40);
  world.restart();
  EXPECT_EQ(world.problem, "");
  EXPECT_EQ(world.total(), total);
}

std::string segment_of(std::uint64_t attempts) {
  Chainer chainer;
  const SegmentHeader header;
  std::string segment = encode(header), records;
  Chain chain = header.chain;
  append_record(records, Subject{"default", "f", 1, std::string(64, 'a'), "node"});
  for (std::uint64_t n = 1; n <= attempts; ++n) {
    const BegunRecord begun{{InvocationId::from_raw(n, n), 1}, 0, 5};
    append_record(records, begun);
    EndedRecord ended;
    ended.begun = begun;
    ended.price = 7;
    append_record(records, ended);
    if (n % 4 && n != attempts) continue;
    segment += frame_batch(records, chain, chainer, &chain);
    records.clear();
  }
  return segment;
}

TEST(Segment, ShowsEveryAlteredByte) {
  const std::string good = segment_of(12);
  const auto ignore = [](std::uint64_t, const Record&) {};
  ASSERT_EQ(scan(good, ignore)->damage, "");
  ASSERT_EQ(scan(good, ignore)->end, good.size());
  for (std::size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 1);
    const auto scanned = scan(bad, ignore);
    EXPECT_TRUE(!scanned || !scanned->damage.empty()) << at;
  }
  for (std::size_t size = 0; size < good.size(); ++size) {
    const auto scanned = scan(std::string_view(good).substr(0, size), ignore);
    if (scanned) EXPECT_LE(scanned->end, size);
  }
}

TEST(Segment, ShowsOneAlteredRecordInAMillion) {
  std::string segment = segment_of(500'000);
  segment[segment.size() / 3] = static_cast<char>(segment[segment.size() / 3] ^ 4);
  std::uint64_t records = 0;
  const auto scanned = scan(segment, [&](std::uint64_t, const Record&) { ++records; });
  ASSERT_TRUE(scanned);
  EXPECT_NE(scanned->damage.find("record"), std::string::npos);
  EXPECT_LT(records, 500'000u);
}

}  // namespace
}  // namespace dormouse::ledger
