#include "runtimes/llm/outgoing.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <vector>

#include "base/check.h"
#include "wire/socket.h"

namespace dormouse::llm {
namespace {

class OutgoingTest : public testing::Test {
 protected:
  OutgoingTest() {
    int both[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, both) == 0);
    there_ = wire::Descriptor(both[0]);
    here_ = wire::Descriptor(both[1]);
    wire_.emplace(both[0]);
    outgoing_.emplace(&*wire_, 7, 1 << 20);
    receiver_.emplace(both[1]);
  }

  struct Received {
    wire::Type type;
    std::string payload;
    bool operator==(const Received&) const = default;
  };
  std::vector<Received> received() {
    std::vector<Received> all;
    for (;;) {
      EXPECT_TRUE(wire_->flush());
      auto frame = receiver_->receive();
      CHECK(frame);
      if (!*frame) return all;
      EXPECT_EQ((*frame)->header.handle, 7U);
      all.push_back({(*frame)->header.type, std::string((*frame)->payload)});
    }
  }

  // Of the chunks among them.
  std::string passed() {
    std::string all;
    for (const auto& [type, payload] : received()) {
      if (type == wire::Type::chunk) all += payload;
    }
    return all;
  }
  static std::string event(std::size_t bytes) { return std::string(bytes - 2, 'a') + "\n\n"; }

  wire::Descriptor there_, here_;
  std::optional<wire::WorkerEnd> wire_;
  std::optional<Outgoing> outgoing_;
  std::optional<wire::FrameReceiver> receiver_;
};

TEST_F(OutgoingTest, CallsAnAnswerThatIsTooLargeTheFunctionsFailure) {
  outgoing_->answer(std::string((1 << 20) + 1, 'a'));
  EXPECT_TRUE(outgoing_->over());
  const auto said = received();
  ASSERT_EQ(said.size(), 1U);
  EXPECT_EQ(said[0].type, wire::Type::failed);
  const auto failure = wire::decode_failure(said[0].payload);
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->code, Code::function_failed);
  EXPECT_EQ(failure->message, "the answer has 1048577 bytes, the limit is 1048576");
}

TEST_F(OutgoingTest, AnnouncesByWhatItHasCounted) {
  outgoing_->begin_stream();
  EXPECT_FALSE(outgoing_->announce());
  outgoing_->send("a word\n\n");
  outgoing_->count({.prompt = 5, .reused = 2, .generated = 1});
  const auto said = received();
  ASSERT_EQ(said.size(), 3U);
  EXPECT_EQ(said[1], (Received{wire::Type::chunk, "a word\n\n"}));
  EXPECT_EQ(said[2].type, wire::Type::stats);
  EXPECT_TRUE(outgoing_->announce());
  EXPECT_EQ(received(), std::vector{said[2]});
}

TEST_F(OutgoingTest, AnnouncesNothingThatDoesNotCome) {
  outgoing_->begin_stream();
  outgoing_->count({.prompt = 5});
  outgoing_->send(event(wire::credit_window_bytes));
  EXPECT_FALSE(outgoing_->stalled());
  outgoing_->send(event(100));
  EXPECT_TRUE(outgoing_->stalled());
  EXPECT_FALSE(outgoing_->announce());
  outgoing_->add_credit(100);
  EXPECT_TRUE(outgoing_->announce());
  outgoing_->end_stream();
  EXPECT_FALSE(outgoing_->announce());
}

TEST_F(OutgoingTest, EndsAStreamThatFailsBetweenTwoEvents) {
  outgoing_->begin_stream();
  std::string sent;
  for (std::size_t i = 0; !outgoing_->stalled(); ++i) {
    const std::string next = event(100 + i * 37 % 3000);
    sent += next;
    outgoing_->send(next);
  }
  for (const std::uint32_t credit : {1U, 30U, 4000U}) outgoing_->add_credit(credit);
  outgoing_->send(event(5000));
  outgoing_->fail({Code::deadline_exceeded, "late"});
  // The last before the failure has come as soon as there was credit for it, and none in part.
  EXPECT_TRUE(passed() == sent);
}

TEST_F(OutgoingTest, SendsEveryEventWhateverCreditItHas) {
  constexpr std::size_t told_at = wire::credit_window_bytes / 4;  // That so much was taken.
  for (const std::size_t size : {100U, 3000U, 65'535U, 65'536U, 65'537U, 300'000U}) {
    Outgoing one(&*wire_, 7, 1 << 20);
    one.begin_stream();
    std::size_t sent = 0, taken = 0, told = 0;
    while (sent < 2'000'000) {
      for (; !one.stalled(); sent += size) one.send(event(size));
      while (one.stalled()) {
        taken += passed().size();
        EXPECT_LE(taken, told + wire::credit_window_bytes);
        ASSERT_GE(taken - told, told_at) << size << ": nothing would ever come again";
        one.add_credit(static_cast<std::uint32_t>(taken - told));
        told = taken;
      }
    }
    one.end_stream();
    EXPECT_EQ(taken + passed().size(), sent) << size;
  }
}

}  // namespace
}  // namespace dormouse::llm
