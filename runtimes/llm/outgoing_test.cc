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
    EXPECT_TRUE(wire_->flush());
    std::vector<Received> all;
    for (;;) {
      auto frame = receiver_->receive();
      CHECK(frame);
      if (!*frame) return all;
      EXPECT_EQ((*frame)->header.handle, 7U);
      all.push_back({(*frame)->header.type, std::string((*frame)->payload)});
    }
  }

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
  outgoing_->send("a word");
  outgoing_->count({.prompt = 5, .reused = 2, .generated = 1});
  const auto said = received();
  ASSERT_EQ(said.size(), 3U);
  EXPECT_EQ(said[1], (Received{wire::Type::chunk, "a word"}));
  EXPECT_EQ(said[2].type, wire::Type::stats);
  EXPECT_TRUE(outgoing_->announce());
  EXPECT_EQ(received(), std::vector{said[2]});
}

TEST_F(OutgoingTest, AnnouncesNothingThatDoesNotCome) {
  outgoing_->begin_stream();
  outgoing_->count({.prompt = 5});
  outgoing_->send(std::string(wire::credit_window_bytes + 1, 'a'));
  EXPECT_TRUE(outgoing_->stalled());
  EXPECT_FALSE(outgoing_->announce());
  outgoing_->add_credit(1);
  EXPECT_TRUE(outgoing_->announce());
  outgoing_->end_stream();
  EXPECT_FALSE(outgoing_->announce());
}

}  // namespace
}  // namespace dormouse::llm
