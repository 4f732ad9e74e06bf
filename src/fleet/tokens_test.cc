// How tokens that a worker counts come onto the receipt.
#include "fleet/fake_world.h"

namespace dormouse::fleet {
namespace {

// Told "whole", "stream" or "stall", answers with five words, counting each; or counts as it may
// not: for "another's" call, "late", or "many".
class Counting {
 public:
  explicit Counting(int socket) : socket_(socket), talker_(socket) {
    while (const auto frame = talker_.hear()) {
      if (frame->header.type == wire::Type::cancel && !stubborn_) {
        count(frame->header.handle, 9);
        talker_.say(wire::Type::failed, frame->header.handle, wire::encode(wire::Failure{}));
      }
      if (frame->header.type != wire::Type::invoke) continue;
      const auto items = wire::decode_items(frame->payload);
      answer(items->front().handle, std::string(items->front().inline_body));
    }
  }

 private:
  void count(std::uint64_t handle, std::uint64_t words) {
    talker_.say(wire::Type::stats, handle, wire::encode(wire::Stats{30, 12, words}));
  }

  void answer(std::uint64_t handle, const std::string& how) {
    stubborn_ = how == "stubborn";
    if (how == "stream" || how == "stall" || stubborn_) return stream(handle, how == "stream");
    count(how == "another's" ? handle + 1 : handle, how == "many" ? wire::tokens_max + 1 : 5);
    talker_.say(wire::Type::result, handle, wire::encode(wire::Answer{}));
    if (how == "late") count(handle, 6);
  }

  void stream(std::uint64_t handle, bool ends) {
    count(handle, 0);
    talker_.say(wire::Type::result, handle, wire::encode(wire::Answer{}), wire::flag_streaming);
    std::string out;  // Sent at once, so that no reader comes between a chunk and its count.
    for (std::uint64_t words = 1; words <= 5; ++words) {
      wire::append_frame(out, wire::Type::chunk, 0, handle, "word ");
      wire::append_frame(out, wire::Type::stats, 0, handle,
                         wire::encode(wire::Stats{30, 12, words}));
    }
    if (ends) wire::append_frame(out, wire::Type::chunk, wire::flag_end, handle, "");
    (void)wire::send_all(socket_, out, {});
  }

  int socket_;
  Talker talker_;
  bool stubborn_ = false;
};

void count_tokens(int socket) {
  Counting counting(socket);
}

Options of_language_models() {
  Options options;
  options.runtimes["speaker"] = {.root = "/", .argv = {"x"}, .blanks = 1, .language_models = true};
  return options;
}

asio::awaitable<std::string> read(Stream* stream, int pieces) {
  std::string all;
  for (; pieces > 0; --pieces) {
    auto next = stream->next();
    const auto piece = co_await std::move(next);
    if (!piece || !*piece) break;
    all += **piece;
  }
  co_return all;
}

TEST(Tokens, OfAWholeAnswerAreOnItsReceipt) {
  World world(count_tokens, of_language_models());
  world.deploy("f");
  const Outcome outcome = world.run(world.call("f", "whole"));
  ASSERT_TRUE(outcome.receipt);
  EXPECT_EQ(outcome.receipt->tokens, (ledger::Tokens{30, 12, 5}));
  EXPECT_EQ(world.fleet->snapshot().counters.at("f").tokens, (ledger::Tokens{30, 12, 5}));
}

TEST(Tokens, OfAStreamThatIsReadToItsEndAreAllCounted) {
  World world(count_tokens, of_language_models());
  world.deploy("f");
  const Outcome outcome = world.run(world.call("f", "stream"));
  ASSERT_TRUE(outcome.answer && outcome.answer->stream);
  EXPECT_EQ(world.run(read(outcome.answer->stream.get(), 6)), "word word word word word ");
  ASSERT_TRUE(outcome.answer->stream->receipt());
  EXPECT_EQ(outcome.answer->stream->receipt()->tokens, (ledger::Tokens{30, 12, 5}));
}

TEST(Tokens, OfAStreamThatIsLeftAreThoseThatWereDelivered) {
  World world(count_tokens, of_language_models());
  world.deploy("f");
  Outcome outcome = world.run(world.call("f", "stall"));
  ASSERT_TRUE(outcome.answer && outcome.answer->stream);
  EXPECT_EQ(world.run(read(outcome.answer->stream.get(), 2)), "word word ");
  outcome.answer->stream.reset();
  EXPECT_EQ(world.fleet->snapshot().counters.at("f").tokens, (ledger::Tokens{30, 12, 2}));
  // What it says of the call that was left changes nothing.
  EXPECT_TRUE(world.run(world.call("f", "whole")).answer);
  EXPECT_EQ(world.fleet->snapshot().counters.at("f").tokens, (ledger::Tokens{60, 24, 7}));
  EXPECT_EQ(world.launcher.state.killed, 0);  // It has said that it gave the call up.
}

TEST(Tokens, OfAStreamThatIsCutAtItsDeadlineAreAllThatIsStillDelivered) {
  World world(count_tokens, of_language_models());
  world.deploy("f", {}, 200ms);
  const Outcome outcome = world.run(world.call("f", "stall"));
  ASSERT_TRUE(outcome.answer && outcome.answer->stream);
  EXPECT_EQ(world.run(read(outcome.answer->stream.get(), 1)), "word ");
  ASSERT_TRUE(world.comes([&] { return outcome.answer->stream->receipt() != nullptr; }));
  EXPECT_EQ(outcome.answer->stream->receipt()->failure, Code::deadline_exceeded);
  EXPECT_EQ(outcome.answer->stream->receipt()->tokens, (ledger::Tokens{30, 12, 5}));
  EXPECT_EQ(world.run(read(outcome.answer->stream.get(), 5)), "word word word word ");
}

TEST(Cancel, EndsALanguageModelThatDoesNotGiveACallUp) {
  Options options = of_language_models();
  options.keep_grace = 10ms;
  World world(count_tokens, options);
  world.deploy("f");
  Outcome outcome = world.run(world.call("f", "stubborn"));
  ASSERT_TRUE(outcome.answer && outcome.answer->stream);
  outcome.answer->stream.reset();
  EXPECT_TRUE(world.comes([&] { return world.launcher.state.killed == 1; }));
  EXPECT_TRUE(world.run(world.call("f", "whole")).answer);
}

TEST(Cancel, CostsNoOtherCallOfALanguageModel) {
  World world(count_tokens, of_language_models());
  world.deploy("f", {}, 30s, 64 << 20, 2);
  Outcome left = world.run(world.call("f", "stall"));
  Outcome stays = world.run(world.call("f", "stall"));
  ASSERT_TRUE(left.answer && left.answer->stream && stays.answer && stays.answer->stream);
  left.answer->stream.reset();
  EXPECT_TRUE(world.run(world.call("f", "whole")).answer);
  EXPECT_EQ(world.launcher.state.living, 2);  // One, and a blank.
  EXPECT_EQ(world.run(read(stays.answer->stream.get(), 5)), "word word word word word ");
  EXPECT_EQ(world.launcher.state.killed, 0);
}

TEST(Tokens, ThatAWorkerMayNotCountEndItAndNothingElse) {
  for (const char* how : {"another's", "late", "many"}) {
    World world(count_tokens, of_language_models());
    world.deploy("f");
    const Outcome outcome = world.run(world.call("f", how));
    EXPECT_TRUE(world.comes([&] { return world.launcher.state.killed == 1; })) << how;
    EXPECT_EQ(outcome.answer.has_value(), how == std::string("late"));
    EXPECT_EQ(outcome.receipt->tokens.generated, how == std::string("late") ? 5 : 0);
    EXPECT_TRUE(world.run(world.call("f", "whole")).answer);
  }
}

TEST(Tokens, OfAnyOtherRuntimeAreNotBelieved) {
  World world(count_tokens);
  world.deploy("f");
  const Outcome outcome = world.run(world.call("f", "whole"));
  ASSERT_FALSE(outcome.answer);
  EXPECT_EQ(outcome.receipt->tokens, ledger::Tokens{});
}

}  // namespace
}  // namespace dormouse::fleet
