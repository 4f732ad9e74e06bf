// Whose what a program prints is.
#include <sys/ioctl.h>

#include "fleet/fake_world.h"

namespace dormouse::fleet {
namespace {

// Prints what it is told, and answers. Told "wait", it answers when it is released; told "hold",
// when a call "free" comes, or one "stream" is cancelled, which prints then and never ends.
class Printing {
 public:
  explicit Printing(bool reports)
      : world([this](int socket) { serve(socket); }, options_of(reports)) {
    world.launcher.state.printer = [this](wire::Descriptor end) { output_ = std::move(end); };
  }

  static Options options_of(bool reports) {
    Options options;
    options.runtimes["speaker"] = {
        .root = "/", .argv = {"x"}, .blanks = 0, .waits_unused = false, .reports = reports};
    return options;
  }

  std::future<Outcome> begin(const std::string& said) {
    auto call = asio::co_spawn(world.io, world.call("f", said), asio::use_future);
    EXPECT_TRUE(world.comes([&] { return world.fleet->status("f").running == 1; }));
    return call;
  }
  // The call's id.
  std::string end(std::future<Outcome> call) {
    EXPECT_TRUE(world.comes([&] { return call.wait_for(0s) == std::future_status::ready; }));
    return call.get().receipt->begun.key.id.text();
  }
  std::string call(const std::string& said) {
    return world.run(world.call("f", said)).receipt->begun.key.id.text();
  }

  void print(std::string_view text) const {
    EXPECT_EQ(write(output_.number(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  bool is_read() const {
    int unread = 0;
    return ioctl(output_.number(), FIONREAD, &unread) == 0 && unread == 0;
  }
  // Of which call a line is.
  std::string call_of(std::string_view line) {
    for (const logs::Line& each : world.run(world.logs->read("f", {}))->lines) {
      if (each.text == line) return each.invocation;
    }
    return "there is no such line";
  }

 private:
  wire::Descriptor output_;

 public:
  std::atomic<bool> released = false;
  World world;

 private:
  void serve(int socket) {
    Talker talker(socket);
    std::uint64_t held = 0;
    while (const auto frame = talker.hear()) {
      if (frame->header.type == wire::Type::cancel) {
        print("alice\n");
        talker.say(wire::Type::result, held, wire::encode(wire::Answer{}));
      }
      if (frame->header.type != wire::Type::invoke) continue;
      const auto items = wire::decode_items(frame->payload);
      const std::uint64_t handle = items->front().handle;
      const std::string said(items->front().inline_body);
      if (said == "hold") held = handle;
      if (said == "hold") continue;
      if (said == "wait") released.wait(false);
      if (said == "stream") {
        talker.say(wire::Type::result, handle, wire::encode(wire::Answer{}), wire::flag_streaming);
        continue;
      }
      if (said == "free") talker.say(wire::Type::result, held, wire::encode(wire::Answer{}));
      if (said != "wait" && said != "free") print(said);
      talker.say(wire::Type::result, handle, wire::encode(wire::Answer{}));
    }
  }
};

TEST(Output, WithoutALinesEndIsOfItsCallAlone) {
  Printing it(true);
  it.world.deploy("f");
  const std::string alice = it.call("a line\nalice");
  const std::string bob = it.call("bob");
  EXPECT_EQ(it.call_of("a line"), alice);
  EXPECT_EQ(it.call_of("alice"), alice);
  EXPECT_EQ(it.call_of("bob"), bob);
}

TEST(Output, ThatWasReadByACallsEndIsNotTheNextCalls) {
  Printing it(false);
  it.world.deploy("f");
  auto waiting = it.begin("wait");
  it.print("alice");
  EXPECT_TRUE(it.world.comes([&] { return it.is_read(); }));
  it.released = true;
  it.released.notify_all();
  const std::string alice = it.end(std::move(waiting));
  it.call("bob\n");
  EXPECT_EQ(it.call_of("alice"), alice);
}

TEST(Output, BetweenTwoCallsIsOfNone) {
  Printing it(true);
  it.world.deploy("f");
  it.call("");
  it.print("late");
  EXPECT_TRUE(it.world.comes([&] { return it.is_read(); }));
  const std::string bob = it.call("bob");
  EXPECT_EQ(it.call_of("late"), "");
  EXPECT_EQ(it.call_of("bob"), bob);
}

TEST(Output, OfALineThatACallBeganBesideAnotherIsOfNone) {
  Printing it(true);
  it.world.deploy("f", {}, 30s, 64 << 20, 2, catalog::reuse_warm, 1);
  auto held = it.begin("hold");
  it.call("alice");
  it.print("bob\nagain\n");
  EXPECT_TRUE(it.world.comes([&] { return it.is_read(); }));
  it.call("free");
  const std::string bob = it.end(std::move(held));
  EXPECT_EQ(it.call_of("alicebob"), "");
  EXPECT_EQ(it.call_of("again"), bob);
}

TEST(Output, OfACallThatNobodyAwaitsIsNoOtherCalls) {
  Printing it(true);
  it.world.deploy("f", {}, 30s, 64 << 20, 2, catalog::reuse_warm, 1);
  auto held = it.begin("hold");
  Outcome left = it.world.run(it.world.call("f", "stream"));
  left.answer->stream.reset();
  it.end(std::move(held));
  EXPECT_EQ(it.call_of("alice"), "");
}

}  // namespace
}  // namespace dormouse::fleet
