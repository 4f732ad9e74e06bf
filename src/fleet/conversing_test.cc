// How conversations are kept while instances sleep.
#include "fleet/fake_world.h"

namespace dormouse::fleet {
namespace {

// Answers each call with what it was handed over of the call's conversation, and keeps that and
// what it was told. Told "later", keeps it when it is asked to leave; and as it may not for
// "another's", "unasked", "too long", "twice", "of no call".
class Keeping {
 public:
  explicit Keeping(int socket) : talker_(socket) {
    while (auto frame = talker_.hear()) {
      if (!obey(*frame)) return;
    }
  }

 private:
  bool obey(wire::Frame& frame) {
    const std::uint64_t handle = frame.header.handle;
    if (frame.header.type == wire::Type::state) take(frame);
    if (frame.header.type == wire::Type::invoke) answer(frame);
    if (frame.header.type == wire::Type::cancel) {
      talker_.say(wire::Type::chunk, handle, "which was under way");
      talker_.say(wire::Type::failed, handle, wire::encode(wire::Failure{}));
    }
    if (frame.header.type == wire::Type::room) {
      fill(handle, frame);
      return !leaving_;
    }
    if (frame.header.type != wire::Type::drain) return true;
    if (!later_) return false;
    ask(*std::exchange(later_, std::nullopt));
    leaving_ = true;
    return true;
  }

  void take(const wire::Frame& frame) {
    const auto state = wire::decode_state(frame.payload);
    conversation_ = state->conversation;
    known_.assign(state->size, '\0');
    if (!state->has_state) return;
    const int file = frame.descriptors.front().number();
    CHECK(pread(file, known_.data(), known_.size(), static_cast<off_t>(state->offset)) ==
          std::ssize(known_));
  }

  void answer(const wire::Frame& frame) {
    const auto items = wire::decode_items(frame.payload);
    const std::uint64_t call = items->front().handle;
    const std::string told(items->front().inline_body);
    if (told == "stream") return stream(call);
    wire::Answer answer;
    answer.inline_body = known_;
    answer.body_size = known_.size();
    talker_.say(wire::Type::result, call, wire::encode(answer));
    Kept kept{{call, conversation_, known_.size() + told.size()}, known_ + told};
    known_.clear();
    if (std::exchange(conversation_, "").empty()) return;
    if (told == "another's") kept.said.conversation = "another";
    if (told == "of no call") kept.said.invocation = call + 1;
    if (told == "too long") ++kept.said.size;
    if (told == "unasked") {
      talker_.say(wire::Type::keep, wire::keep_bit | 99, wire::encode(kept.said));
    } else if (told == "later") {
      later_ = std::move(kept);
    } else {
      ask(std::move(kept));
    }
  }

  void stream(std::uint64_t call) {
    later_ = Kept{{call, std::exchange(conversation_, ""), 6}, "stream"};
    talker_.say(wire::Type::result, call, wire::encode(wire::Answer{}), wire::flag_streaming);
    talker_.say(wire::Type::chunk, call, "a word");
  }

  struct Kept {
    wire::Keep said;
    std::string text;
  };

  void ask(Kept kept) {
    talker_.say(wire::Type::ask_room, ++own_ | wire::keep_bit,
                wire::encode_ask_room(kept.text.size()));
    asked_[own_ | wire::keep_bit] = std::move(kept);
  }

  void fill(std::uint64_t handle, const wire::Frame& frame) {
    const auto& [said, text] = asked_.at(handle);
    CHECK(pwrite(frame.descriptors.front().number(), text.data(), text.size(), 0) ==
          std::ssize(text));
    talker_.say(wire::Type::keep, handle, wire::encode(said));
    if (text == "twice") talker_.say(wire::Type::keep, handle, wire::encode(said));
  }

  Talker talker_;
  std::string conversation_, known_;  // Of the next call.
  std::map<std::uint64_t, Kept> asked_;
  std::optional<Kept> later_;
  std::uint64_t own_ = 0;
  bool leaving_ = false;
};

void keep_all(int socket) {
  Keeping keeping(socket);
  shutdown(socket, SHUT_RDWR);
}

Options that_keep() {
  Options options;
  options.runtimes["speaker"] = {
      .root = "/", .argv = {"x"}, .blanks = 1, .keeps_conversations = true};
  return options;
}

std::size_t kept(World& world, const std::string& function = "f") {
  return world.conversations->of("default", function).size();
}

bool is_kept(World& world, const std::string& text) {
  const auto is_there = [&] {
    const auto all = world.conversations->of("default", "f");
    return all.size() == 1 && all.front().bytes == text.size();
  };
  const bool there = world.comes(is_there);
  world.run(world.conversations->close());
  return there;
}

TEST(Conversation, IsFoundAgainByItsNameAndByNoOther) {
  World world(keep_all, that_keep());
  world.deploy("f");
  EXPECT_EQ(World::text(world.run(world.turn("f", "c", "one "))), "");
  ASSERT_TRUE(is_kept(world, "one "));
  EXPECT_EQ(World::text(world.run(world.turn("f", "c", "two "))), "one ");
  ASSERT_TRUE(is_kept(world, "one two "));
  EXPECT_EQ(World::text(world.run(world.turn("f", "d", "x"))), "");
  EXPECT_EQ(World::text(world.run(world.call("f", "y"))), "");
  EXPECT_EQ(World::text(world.run(world.turn("f", "c", "three"))), "one two ");
}

TEST(Conversation, IsOfOneFunctionOnlyAndGoesWithIt) {
  World world(keep_all, that_keep());
  world.deploy("f");
  world.deploy("g");
  world.run(world.turn("f", "c", "of f"));
  ASSERT_TRUE(is_kept(world, "of f"));
  EXPECT_EQ(World::text(world.run(world.turn("g", "c", "of g"))), "");
  EXPECT_TRUE(world.comes([&] { return kept(world, "g") == 1; }));
  world.fleet->serve("f", nullptr);
  EXPECT_EQ(kept(world), 0u);
  EXPECT_EQ(kept(world, "g"), 1u);
}

TEST(Conversation, IsKeptByAWorkerThatIsAskedToLeave) {
  World world(keep_all, that_keep());
  world.deploy("f");
  world.run(world.turn("f", "c", "later"));
  EXPECT_EQ(kept(world), 0u);
  world.run(world.fleet->drain(std::chrono::seconds(1)));
  EXPECT_TRUE(is_kept(world, "later"));
}

TEST(Conversation, IsKeptThoughItsClientLeftHalfWay) {
  World world(keep_all, that_keep());
  world.deploy("f");
  Outcome begun = world.run(world.turn("f", "c", "stream"));
  ASSERT_TRUE(begun.answer && begun.answer->stream);
  begun.answer->stream.reset();
  EXPECT_TRUE(is_kept(world, "stream"));
  EXPECT_EQ(World::text(world.run(world.turn("f", "c", "x"))), "stream");
}

TEST(Conversation, ThatIsNotItsOwnEndsTheWorkerAndKeepsNothing) {
  for (const std::string how : {"another's", "unasked", "too long", "of no call"}) {
    World world(keep_all, that_keep());
    world.deploy("f");
    EXPECT_TRUE(world.run(world.turn("f", "c", how)).answer) << how;
    EXPECT_TRUE(world.comes([&] { return world.launcher.state.killed == 1; })) << how;
    EXPECT_EQ(kept(world), 0u) << how;
  }
  World world(keep_all, that_keep());
  world.deploy("f");
  world.run(world.turn("f", "c", "twice"));
  EXPECT_TRUE(world.comes([&] { return world.launcher.state.killed == 1; }));
  EXPECT_EQ(kept(world), 1u);
}

TEST(Conversation, IsNotHandedToARuntimeThatKeepsNone) {
  World world(keep_all);
  world.deploy("f");
  EXPECT_EQ(World::text(world.run(world.turn("f", "c", "x"))), "");
  EXPECT_EQ(kept(world), 0u);
  EXPECT_EQ(world.launcher.state.killed, 0);
}

}  // namespace
}  // namespace dormouse::fleet
