// Answers that are streamed, and workers that stream as they may not.
#include <gtest/gtest.h>

#include "fleet/fake_world.h"
#include "fleet/flow.h"

namespace dormouse::fleet {
namespace {

asio::awaitable<std::string> read_all(std::shared_ptr<Stream> stream) {
  std::string all;
  for (;;) {
    auto next = stream->next();
    const auto piece = co_await std::move(next);
    if (!piece) co_return "failed: " + piece.error().message;
    if (!*piece) co_return all;
    all += **piece;
  }
}

TEST(Stream, StreamsUnderCreditAndWritesTheReceiptAtTheEnd) {
  World world(stream);
  world.deploy("f");
  Outcome begun = world.run(world.call("f", "3000"));
  ASSERT_TRUE(begun.answer) << World::text(begun);
  EXPECT_FALSE(begun.receipt);
  const std::shared_ptr<Stream> stream = std::move(begun.answer->stream);
  ASSERT_TRUE(stream);
  EXPECT_EQ(world.run(read_all(stream)).size(), 3000u << 10);
  ASSERT_TRUE(stream->receipt());
  EXPECT_EQ(stream->receipt()->response_bytes, 3000u << 10);
  EXPECT_EQ(world.fleet->status("f").dozing, 1);
}

TEST(Stream, HoldsOneWindowForAReaderThatDoesNotRead) {
  World world(stream);
  world.deploy("f");
  Outcome slow = world.run(world.call("f", "3000"));
  ASSERT_TRUE(slow.answer && slow.answer->stream);
  slow.answer->stream.reset();  // It leaves instead.
  EXPECT_EQ(world.ledger.ended, 1);
  Outcome next = world.run(world.call("f", "1"));
  ASSERT_TRUE(next.answer && next.answer->stream);
  EXPECT_EQ(world.run(read_all(std::move(next.answer->stream))).size(), 1024u);
}

TEST(Stream, BreaksOffAStreamBeyondItsCredit) {
  World world(stream);
  world.deploy("f");
  Outcome begun = world.run(world.call("f", "999"));
  ASSERT_TRUE(begun.answer && begun.answer->stream);
  world.io.restart();
  while (world.launcher.state.killed == 0) world.io.run_one();  // Nobody reads meanwhile.
  EXPECT_EQ(world.run(read_all(std::move(begun.answer->stream))),
            "failed: the worker streams more than it has credit for (the invocation may have run)");
}

TEST(Stream, HasNoTensorsAndNoBodyOfItsOwn) {
  for (const char* what : {"tensors", "body"}) {
    World world(stream_tensors);
    world.deploy("f");
    EXPECT_EQ(World::text(world.run(world.call("f", what))),
              "function_failed: the worker streams tensors, or a body before its stream (the "
              "invocation may have run)");
  }
}

asio::awaitable<void> read_one_and_leave(std::unique_ptr<Stream> stream) {
  auto next = stream->next();
  const auto piece = co_await std::move(next);
  EXPECT_TRUE(piece && *piece);
}

// Whoever waits for a piece resumes as it is handed over, in the midst of what the worker says.
TEST(Stream, MayBeLeftAsItsLastPieceComes) {
  World world(stream_at_once);
  world.deploy("f");
  for (const char* what : {"one", "more"}) {
    const int before = world.ledger.ended;
    Outcome begun = world.run(world.call("f", what));
    ASSERT_TRUE(begun.answer && begun.answer->stream);
    world.run(read_one_and_leave(std::move(begun.answer->stream)));
    EXPECT_TRUE(world.comes([&] { return world.ledger.ended == before + 1; }));
  }
}

TEST(Stream, ThatIsGivenUpIsTheFunctionsFault) {
  World world(stream);
  world.deploy("f");
  Outcome begun = world.run(world.call("f", "3000"));
  ASSERT_TRUE(begun.answer && begun.answer->stream);
  const auto stream = std::move(begun.answer->stream);
  world.run(stream->give_up({Code::function_failed, "too long"}));
  ASSERT_TRUE(stream->receipt());
  EXPECT_EQ(stream->receipt()->failure, Code::function_failed);
  EXPECT_EQ(world.ledger.ended, 1);
}

TEST(Flow, LetsSmallPiecesWaitTogether) {
  Flow flow;
  for (int i = 0; i < 10'000; ++i) ASSERT_TRUE(flow.add("x"));
  int pieces = 0;
  std::string all;
  for (; flow.has_next(); ++pieces) all += **flow.take();
  EXPECT_EQ(all, std::string(10'000, 'x'));
  EXPECT_EQ(pieces, 3);  // Of 4 KiB at most.
}

// A piece is taken, and paid for, with the tokens that were counted up to it.
TEST(Flow, KeepsPiecesApartWhoseTokensAreCounted) {
  Flow flow;
  ASSERT_TRUE(flow.add("one "));
  flow.counted({.generated = 1});
  ASSERT_TRUE(flow.add("two "));
  ASSERT_TRUE(flow.add("three"));
  EXPECT_EQ(**flow.take(), "one ");
  EXPECT_EQ(flow.tokens_taken().generated, 1);
  EXPECT_EQ(**flow.take(), "two three");
  EXPECT_FALSE(flow.has_next());
}

}  // namespace
}  // namespace dormouse::fleet
