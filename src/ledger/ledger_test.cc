#include "ledger/ledger.h"

#include <fstream>
#include <limits>
#include <sstream>

#include "ledger/fake_world.h"
#include "ledger/segment.h"

namespace dormouse::ledger {
namespace {

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

// A power cut has taken the segment after the sealed one, and the start after it died early.
TEST(Ledger, InterruptsWhatWasRunningAlsoAtTheStartAfterAnother) {
  World world;
  world.crash();
  world.options.segment_bytes_max = 2000;
  world.start();
  world.ledger->begin(world.begun(1000));
  for (std::uint64_t n = 1; world.segments().size() < 2 || fs::file_size(world.segments()[1]) == 0;
       ++n) {
    world.call(n);
    if (n % 4 == 0) world.settle();
    ASSERT_LT(n, 200u);
  }
  world.crash();
  fs::remove(world.segments()[1]);
  fs::remove(world.dir / "x.db");
  world.start();
  ASSERT_EQ(world.problem, "");
  world.crash();
  const fs::path begun = world.segments()[1];
  std::stringstream bytes;
  bytes << std::ifstream(begun, std::ios::binary).rdbuf();
  std::uint64_t ended = bytes.view().size();
  (void)scan(bytes.view(), [&](std::uint64_t batch, const Record& record) {
    if (std::holds_alternative<EndedRecord>(record)) ended = std::min(ended, batch);
  });
  ASSERT_LT(ended, bytes.view().size());
  fs::resize_file(begun, ended);  // It died before that was on record.
  fs::remove(world.options.dir / "tail");
  fs::remove(world.dir / "x.db");
  world.start();
  ASSERT_EQ(world.problem, "");
  const auto found = world.run(world.ledger->find(world.begun(1000).key));
  ASSERT_TRUE(found && *found);
  EXPECT_TRUE((*found)->interrupted);
}

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
