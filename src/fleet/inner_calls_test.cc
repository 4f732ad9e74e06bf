// Functions that call each other, and workers that call as they may not.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include "fleet/attempt.h"
#include "fleet/fake_world.h"

namespace dormouse::fleet {
namespace {

constexpr std::uint64_t first_call = wire::call_bit | 1;

// In the call `handle`; what it calls is told apart by its body.
void call_itself(Talker& talker, std::uint64_t handle, std::uint16_t flags = 0) {
  const wire::Call call{.caller = handle,
                        .function = "f",
                        .content = {.content_type = "x/y"},
                        .body_size = 5,
                        .inline_body = "inner"};
  talker.say(wire::Type::call, wire::call_bit | handle, wire::encode(call), flags);
}

void answer_with(Talker& talker, std::uint64_t handle, const std::string& text) {
  const wire::Answer said{
      .content = {.content_type = "x/y"}, .body_size = text.size(), .inline_body = text};
  talker.say(wire::Type::result, handle, wire::encode(said));
}

// Takes its first invocation, and does as `act` says; what `answer` brings is the invocation's own.
template <class Act>
std::function<void(int)> caller(Act act) {
  return [act](int socket) {
    Talker talker(socket);
    while (const auto frame = talker.hear()) {
      if (frame->header.type == wire::Type::invoke) {
        const auto items = wire::decode_items(frame->payload);
        if (items->front().inline_body == "inner") {
          answer_with(talker, items->front().handle, "reply");
        } else {
          act(talker, items->front().handle);
        }
      } else if (frame->header.type == wire::Type::answer) {
        const auto answer = wire::decode_call_answer(frame->payload);
        const std::string text =
            answer->failure ? answer->failure->message : std::string(answer->inline_body);
        answer_with(talker, frame->header.handle & ~wire::call_bit, text);
      }
    }
  };
}

// One call of `function`, whose number is the invocation's.
auto calling(const char* function, std::uint64_t in = 0) {
  return caller([function, in](Talker& talker, std::uint64_t handle) {
    const wire::Call call{.caller = in == 0 ? handle : in,
                          .function = function,
                          .content = {.content_type = "x/y"},
                          .body_size = 5,
                          .inline_body = "inner"};
    talker.say(wire::Type::call, wire::call_bit | handle, wire::encode(call));
  });
}

TEST(InnerCall, IsAnsweredLikeAnyOther) {
  World world(calling("f"));
  world.deploy("f");
  EXPECT_EQ(World::text(world.run(world.call("f", "outer"))), "reply");
  EXPECT_EQ(world.ledger.ended, 2);
}

TEST(InnerCall, IsRefusedWithAReason) {
  {
    World world(calling("nobody"));
    world.deploy("f");
    EXPECT_EQ(World::text(world.run(world.call("f", "outer"))), "there is no function \"nobody\"");
  }
  World world(calling("f", 9'999));  // In an invocation that is not its own.
  world.deploy("f");
  EXPECT_EQ(World::text(world.run(world.call("f", "outer"))),
            "a function calls others while it is called, and only then");
}

// Calls itself without end.
auto recursion() {
  return caller([](Talker& talker, std::uint64_t handle) {
    const wire::Call call{.caller = handle,
                          .function = "f",
                          .content = {.content_type = "x/y"},
                          .body_size = 5,
                          .inline_body = "again"};
    talker.say(wire::Type::call, wire::call_bit | handle, wire::encode(call));
  });
}

TEST(InnerCall, DoesNotWaitForItself) {
  World world(recursion());
  world.deploy("f", {}, 30s, 16 << 20, 1, catalog::reuse_warm, 4);
  EXPECT_EQ(World::text(world.run(world.call("f", "outer"))),
            "recursion: all calls of \"f\" that its max_instances and concurrency allow wait for "
            "this one already");
  EXPECT_EQ(world.ledger.ended, 4);
}

TEST(InnerCall, StopsAtADepthOfSixteen) {
  World world(recursion());
  world.deploy("f", {}, 30s, 16 << 20);
  EXPECT_EQ(World::text(world.run(world.call("f", "outer"))),
            "the functions call each other 16 deep already: recursion");
  EXPECT_EQ(world.ledger.ended, 17);
}

TEST(InnerCall, EndsTheInstanceThatBreaksTheProtocol) {
  const std::vector<std::function<void(Talker&, std::uint64_t)>> ways{
      [](Talker& talker, std::uint64_t) { talker.say(wire::Type::call, first_call, "nonsense"); },
      [](Talker& talker, std::uint64_t handle) {
        talker.say(wire::Type::call, 1,
                   wire::encode(wire::Call{.caller = handle, .function = "f"}));
      },
      [](Talker& talker, std::uint64_t handle) {
        talker.say_twice(wire::Type::call, first_call,
                         wire::encode(wire::Call{.caller = handle, .function = "f"}));
      },
      [](Talker& talker, std::uint64_t) {
        talker.say(wire::Type::ask_room, first_call, wire::encode_ask_room(std::uint64_t{1} << 40));
      },
      [](Talker& talker, std::uint64_t) {
        for (std::uint64_t i = 0; i < 65; ++i) {
          talker.say(wire::Type::ask_room, first_call + i, wire::encode_ask_room(1));
        }
      },
      [](Talker& talker, std::uint64_t) { talker.say(wire::Type::answer, first_call, ""); },
  };
  for (std::size_t i = 0; i < ways.size(); ++i) {
    World world(caller(ways[i]));
    world.deploy("f");
    const Outcome outcome = world.run(world.call("f", "outer"));
    ASSERT_FALSE(outcome.answer) << i;
    EXPECT_EQ(outcome.answer.error().code, Code::function_failed) << i;
    EXPECT_TRUE(world.comes([&] { return world.launcher.state.killed > 0; })) << i;
  }
}

TEST(InnerCall, TakesNoBodyThatCanStillBeWrittenTo) {
  auto room = make_call_room(4096);
  ASSERT_TRUE(room);
  void* const open =
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, room->file->number(), 0);
  ASSERT_NE(open, MAP_FAILED);
  const auto refused = closed_to_writers(*room, 100);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message, "the room for the body is still mapped for writing");
  munmap(open, 4096);
  const auto body = closed_to_writers(*room, 100);
  ASSERT_TRUE(body) << body.error().message;
  EXPECT_EQ(body->size(), 100u);
  EXPECT_EQ(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, room->file->number(), 0),
            MAP_FAILED);
  EXPECT_FALSE(closed_to_writers(*room, 5000));
  EXPECT_FALSE(closed_to_writers({}, 0));
}

// One that never reads what it is sent.
TEST(InnerCall, EndsAWorkerThatAsksAndNeverReads) {
  World world(caller([](Talker& talker, std::uint64_t) {
    for (std::uint64_t i = 0; i < 20'000; ++i) {
      talker.say(wire::Type::ask_room, first_call + i, wire::encode_ask_room(1));
      const wire::Call call{.caller = 9'999, .function = "f", .content = {.content_type = "x/y"}};
      talker.say(wire::Type::call, first_call + i, wire::encode(call));
    }
  }));
  world.deploy("f");
  const Outcome outcome = world.run(world.call("f", "outer"));
  ASSERT_FALSE(outcome.answer);
  EXPECT_EQ(outcome.answer.error().code, Code::function_failed);
}

// The one that waits for it has ended by the time that its body is ready.
TEST(InnerCall, IsNotMadeForACallThatHasEnded) {
  World world([](int socket) {
    Talker talker(socket);
    while (const auto frame = talker.hear()) {
      if (frame->header.type == wire::Type::invoke) {
        talker.say(wire::Type::ask_room, first_call, wire::encode_ask_room(100'000));
      } else if (frame->header.type == wire::Type::room) {
        constexpr std::uint64_t outer = 1;
        const wire::Call call{.caller = outer,
                              .function = "f",
                              .content = {.content_type = "x/y"},
                              .body_size = 100'000,
                              .in_memfd = true};
        std::string both;
        wire::append_frame(both, wire::Type::call, 0, first_call, wire::encode(call));
        wire::append_frame(both, wire::Type::result, 0, outer, wire::encode(wire::Answer{}));
        (void)wire::send_all(socket, both, {});
      }
    }
  });
  world.deploy("f");
  EXPECT_TRUE(world.run(world.call("f", "outer")).answer);
  EXPECT_FALSE(world.comes([&] { return world.ledger.ended > 1; }, 300ms));
}

// Calls twelve times at once, each answer as large as one may be, and reads none before all are
// there; answers with how many it was refused.
void hoard(int socket) {
  constexpr int calls = 12;
  constexpr std::uint64_t bytes = 100'000;
  Talker talker(socket);
  std::uint64_t outer = 0;
  int answers = 0, refused = 0;
  while (const auto frame = talker.hear()) {
    const std::uint64_t handle = frame->header.handle;
    if (frame->header.type == wire::Type::room) {
      const wire::Answer large{.body_size = bytes, .in_memfd = true};
      talker.say(wire::Type::result, handle, wire::encode(large));
    } else if (frame->header.type == wire::Type::answer) {
      refused += wire::decode_call_answer(frame->payload)->failure.has_value();
      if (++answers < calls) continue;
      const std::string text = std::to_string(refused);
      const wire::Answer said{
          .content = {.content_type = "x/y"}, .body_size = text.size(), .inline_body = text};
      talker.say(wire::Type::result, outer, wire::encode(said));
    } else if (frame->header.type == wire::Type::invoke) {
      const auto items = wire::decode_items(frame->payload);
      if (items->front().inline_body == "inner") {
        talker.say(wire::Type::ask_room, items->front().handle, wire::encode_ask_room(bytes));
        continue;
      }
      outer = items->front().handle;
      for (std::uint64_t i = 0; i < calls; ++i) {
        const wire::Call call{.caller = outer,
                              .function = "f",
                              .content = {.content_type = "x/y"},
                              .body_size = 5,
                              .inline_body = "inner"};
        talker.say(wire::Type::call, first_call + i, wire::encode(call));
      }
      usleep(1'000'000);
    }
  }
}

TEST(InnerCall, AnswersThatNobodyReadsAreBounded) {
  Options options;
  options.answer_bytes_max = 100'000;
  World world(hoard, options);
  world.deploy("f", {}, 30s, 16 << 20);
  EXPECT_EQ(World::text(world.run(world.call("f", "outer"))), "8");
}

// Streams ten kibibytes to whoever calls it from inside, in the last of which it ends.
TEST(InnerCall, OfAStreamThatIsTooLongFailsForTheFunctionThatStreams) {
  Options options;
  options.answer_bytes_max = 4096;
  World world(
      [](int socket) {
        Talker talker(socket);
        while (const auto frame = talker.hear()) {
          if (frame->header.type == wire::Type::answer) {
            const auto answer = wire::decode_call_answer(frame->payload);
            const std::string text = answer->failure ? answer->failure->message : "an answer";
            answer_with(talker, frame->header.handle & ~wire::call_bit, text);
          }
          if (frame->header.type != wire::Type::invoke) continue;
          const auto items = wire::decode_items(frame->payload);
          const std::uint64_t handle = items->front().handle;
          if (items->front().inline_body != "inner") {
            call_itself(talker, handle);
            continue;
          }
          talker.say(wire::Type::result, handle, wire::encode(wire::Answer{}),
                     wire::flag_streaming);
          usleep(20'000);  // Somebody gathers by now.
          const std::string piece(4096, 'p');
          talker.say(wire::Type::chunk, handle, piece);
          talker.say(wire::Type::chunk, handle, piece, wire::flag_end);
        }
      },
      options);
  world.deploy("f", {}, 30s, 16 << 20);
  EXPECT_EQ(World::text(world.run(world.call("f", "outer"))),
            "the streams it calls for are larger than an answer may be");
  EXPECT_EQ(world.fleet->snapshot().counters.at("f").outcomes.at("function_failed"), 1u);
}

// Calls itself for a stream that it takes as it comes: `inner` answers that call, and `outer` hears
// what comes of it, until it gives its own answer.
template <class Inner, class Outer>
std::function<void(int)> streaming(Inner inner, Outer outer) {
  return [inner, outer](int socket) {
    Talker talker(socket);
    std::uint64_t mine = 0;
    std::string taken;
    auto hears = outer;  // Each instance by itself.
    while (const auto frame = talker.hear()) {
      if (frame->header.type == wire::Type::invoke) {
        const auto items = wire::decode_items(frame->payload);
        const std::uint64_t handle = items->front().handle;
        if (items->front().inline_body == "inner") {
          talker.say(wire::Type::result, handle, wire::encode(wire::Answer{}),
                     wire::flag_streaming);
          inner(talker, handle);
          continue;
        }
        mine = handle;
        call_itself(talker, handle, wire::flag_streaming);
        continue;
      }
      if (mine == 0) continue;  // Credit for the one that streams, or its cancelling.
      const std::optional<std::string> said = hears(talker, *frame, taken);
      if (said) answer_with(talker, mine, *said);
    }
  };
}

// All of it, piece by piece.
std::optional<std::string> take(Talker&, const wire::Frame& frame, std::string& taken) {
  const bool is_end = (frame.header.flags & wire::flag_end) != 0;
  if (frame.header.type == wire::Type::chunk) {
    taken += is_end ? std::string(frame.payload) : "<" + std::string(frame.payload) + ">";
    return is_end ? std::optional(taken) : std::nullopt;
  }
  if ((frame.header.flags & wire::flag_streaming) != 0) return std::nullopt;
  const auto answer = wire::decode_call_answer(frame.payload);
  return answer->failure ? taken + answer->failure->message : "whole";
}

TEST(InnerCall, OfAStreamIsTakenAsItComes) {
  World world(streaming(
      [](Talker& talker, std::uint64_t handle) {
        talker.say(wire::Type::chunk, handle, "one");
        usleep(20'000);  // It has gone on by then.
        talker.say(wire::Type::chunk, handle, "two");
        usleep(20'000);
        talker.say(wire::Type::chunk, handle, "", wire::flag_end);
      },
      take));
  world.deploy("f", {}, 30s, 16 << 20);
  EXPECT_EQ(World::text(world.run(world.call("f", "outer"))), "<one><two>");
  EXPECT_EQ(world.ledger.ended, 2);
}

TEST(InnerCall, OfAStreamThatFailsHalfWaySaysSo) {
  World world(streaming(
      [](Talker& talker, std::uint64_t handle) {
        talker.say(wire::Type::chunk, handle, "one");
        usleep(20'000);
        talker.say(wire::Type::failed, handle,
                   wire::encode(wire::Failure{Code::function_failed, "and no more"}));
      },
      take));
  world.deploy("f", {}, 30s, 16 << 20);
  EXPECT_EQ(World::text(world.run(world.call("f", "outer"))), "<one>and no more");
}

// A frame's header counts as well. The one called sends small pieces, as many as it may.
TEST(InnerCall, OfAStreamSendsNoMoreThanThereIsCreditFor) {
  constexpr std::size_t window = wire::credit_window_bytes, piece = 100, pieces = 5000;
  World world(streaming(
      [](Talker& talker, std::uint64_t handle) {
        std::size_t credit = window;
        for (std::size_t i = 0; i < pieces; ++i, credit -= piece) {
          while (credit < piece) {
            const auto frame = talker.hear();
            if (!frame) return;
            if (frame->header.type == wire::Type::credit) {
              credit += *wire::decode_credit(frame->payload);
            }
          }
          talker.say(wire::Type::chunk, handle, std::string(piece, 'p'));
        }
        talker.say(wire::Type::chunk, handle, "", wire::flag_end);
      },
      [room = window](Talker& talker, const wire::Frame& frame,
                      std::string& taken) mutable -> std::optional<std::string> {
        if (frame.header.type != wire::Type::chunk) return std::nullopt;
        taken += frame.payload;
        if ((frame.header.flags & wire::flag_end) != 0) return std::to_string(taken.size());
        const std::size_t cost = wire::header_size + frame.payload.size();
        if (cost > room) return "without credit";
        room -= cost;
        if (room > wire::header_size) return std::nullopt;
        usleep(50'000);  // What comes without credit would be here by then.
        char next = 0;
        if (recv(talker.socket(), &next, 1, MSG_PEEK | MSG_DONTWAIT) > 0) return "without credit";
        const auto again = static_cast<std::uint32_t>(window - room);
        talker.say(wire::Type::credit, frame.header.handle, wire::encode_credit(again));
        room = window;
        return std::nullopt;
      }));
  world.deploy("f", {}, 30s, 16 << 20);
  EXPECT_EQ(World::text(world.run(world.call("f", "outer"))), std::to_string(pieces * piece));
}

TEST(InnerCall, OfAStreamThatIsLeftEnds) {
  for (const bool says_so : {true, false}) {
    World world(streaming(
        [](Talker& talker, std::uint64_t handle) {
          talker.say(wire::Type::chunk, handle, "one");  // And never an end.
        },
        [says_so](Talker& talker, const wire::Frame& frame,
                  std::string&) -> std::optional<std::string> {
          if (frame.header.type == wire::Type::chunk) {
            if (!says_so) return "enough";
            talker.say(wire::Type::cancel, frame.header.handle, "");
            return std::nullopt;
          }
          if ((frame.header.flags & wire::flag_streaming) != 0) return std::nullopt;
          return std::string(name(wire::decode_call_answer(frame.payload)->failure->code));
        }));
    world.deploy("f", {}, 30s, 16 << 20);
    EXPECT_EQ(World::text(world.run(world.call("f", "outer"))), says_so ? "cancelled" : "enough");
    EXPECT_TRUE(world.comes([&] { return world.ledger.ended == 2; })) << says_so;
  }
}

// The call is given up at once; whoever is called begins to stream later.
TEST(InnerCall, OfAStreamThatIsLeftBeforeItBeginsEndsAsItDoes) {
  World world([](int socket) {
    Talker talker(socket);
    std::uint64_t mine = 0;
    while (const auto frame = talker.hear()) {
      if (frame->header.type == wire::Type::answer && mine != 0) {
        const auto answer = wire::decode_call_answer(frame->payload);
        answer_with(talker, mine,
                    answer->failure ? std::string(name(answer->failure->code)) : "head");
      }
      if (frame->header.type != wire::Type::invoke) continue;
      const auto items = wire::decode_items(frame->payload);
      const std::uint64_t handle = items->front().handle;
      if (items->front().inline_body == "inner") {
        usleep(50'000);
        talker.say(wire::Type::result, handle, wire::encode(wire::Answer{}), wire::flag_streaming);
        continue;
      }
      mine = handle;
      call_itself(talker, handle, wire::flag_streaming);
      talker.say(wire::Type::cancel, wire::call_bit | handle, "");
    }
  });
  world.deploy("f", {}, 30s, 16 << 20);
  EXPECT_EQ(World::text(world.run(world.call("f", "outer"))), "cancelled");
  EXPECT_TRUE(world.comes([&] { return world.ledger.ended == 2; }));
}

TEST(InnerCall, OfAStreamWithCreditForMoreThanWasSentEndsTheInstance) {
  World world(streaming(
      [](Talker& talker, std::uint64_t handle) { talker.say(wire::Type::chunk, handle, "one"); },
      [](Talker& talker, const wire::Frame& frame, std::string&) -> std::optional<std::string> {
        if (frame.header.type == wire::Type::chunk) {
          talker.say(wire::Type::credit, frame.header.handle,
                     wire::encode_credit(wire::header_size + 4));
        }
        return std::nullopt;
      }));
  world.deploy("f", {}, 30s, 16 << 20);
  const Outcome outcome = world.run(world.call("f", "outer"));
  ASSERT_FALSE(outcome.answer);
  EXPECT_EQ(outcome.answer.error().code, Code::function_failed);
  EXPECT_TRUE(world.comes([&] { return world.ledger.ended == 2; }));
}

}  // namespace
}  // namespace dormouse::fleet
