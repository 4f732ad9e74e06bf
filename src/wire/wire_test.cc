#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <random>
#include <thread>

#include "wire/messages.h"
#include "wire/socket.h"
#include "wire/worker.h"

namespace dormouse::wire {
namespace {

struct Pair {
  Pair() {
    int both[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, both) == 0);
    ours = Descriptor(both[0]);
    theirs = Descriptor(both[1]);
  }
  Descriptor ours, theirs;
};

Item an_item() {
  Item item;
  item.handle = 9;
  item.id = InvocationId::make({5}, {1, 2});
  item.deadline_us = 1'000'000;
  item.content.is_tensors = true;
  item.content.tensors = {{{"x", DataType::fp32, {2, 3}}, 0, 24}};
  item.outputs = {"y"};
  item.inline_body = "0123456789ab0123456789ab";
  item.body_size = item.inline_body.size();
  item.result_bytes_max = 1 << 20;
  return item;
}

TEST(Frame, RefusesWhatIsOutOfRange) {
  std::string out;
  append_frame(out, Type::ready, flag_end, 7, "abc", 3);
  const auto header = parse_header(std::string_view(out).substr(0, header_size));
  ASSERT_TRUE(header);
  EXPECT_EQ(header->flags, flag_end);
  EXPECT_EQ(header->descriptors, 3u);
  EXPECT_EQ(header->length, 3u);
  EXPECT_EQ(header->handle, 7u);
  out[4] = 99;
  EXPECT_FALSE(parse_header(std::string_view(out).substr(0, header_size)));
  out[4] = 5;
  out[2] = 2;  // 128 KiB
  EXPECT_FALSE(parse_header(std::string_view(out).substr(0, header_size)));
}

TEST(Messages, SurviveTheWire) {
  const Item item = an_item();
  const std::string text = encode(std::span(&item, 1));
  const auto back = decode_items(text);
  ASSERT_TRUE(back);
  EXPECT_EQ((*back)[0].id, item.id);
  EXPECT_EQ((*back)[0].content.tensors, item.content.tensors);
  EXPECT_EQ((*back)[0].inline_body, item.inline_body);
  EXPECT_EQ((*back)[0].outputs, item.outputs);
  const auto prepared = decode_prepared(encode(Prepared{{"a", "b"}, {{"k", "v"}}, {{"o", "p"}}}));
  ASSERT_TRUE(prepared);
  EXPECT_EQ(prepared->files.size(), 2u);
  EXPECT_EQ(prepared->options.at("o"), "p");
}

// Every truncation and every flipped byte of a valid message is an error or a message, never a
// crash or a read past the end (the sanitizers see that).
TEST(Messages, BearAnyDamage) {
  const Item item = an_item();
  const std::string whole[] = {encode(std::span(&item, 1)),
                               encode(Ready{{{{"x", DataType::bytes, {-1}}}, {}}, "p", {}}),
                               encode(Failure{Code::too_large, "why"})};
  int refused = 0;
  const auto try_all = [&](const std::string& text) {
    refused += !decode_items(text) + !decode_ready(text) + !decode_failure(text) +
               !decode_answer(text) + !decode_load(text) + !decode_hello(text) +
               !decode_prepared(text);
  };
  for (const std::string& text : whole) {
    for (std::size_t i = 0; i < text.size(); ++i) {
      try_all(text.substr(0, i));
      std::string flipped = text;
      flipped[i] = static_cast<char>(~flipped[i]);
      try_all(flipped);
    }
  }
  EXPECT_GT(refused, 100);
}

TEST(Stats, AreRefusedIfTheirSumCouldOverflow) {
  const auto back = decode_stats(encode(Stats{1, 2, tokens_max}));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->prompt_read, 1u);
  EXPECT_EQ(back->prompt_reused, 2u);
  EXPECT_EQ(back->generated, tokens_max);
  EXPECT_FALSE(decode_stats(encode(Stats{1, tokens_max + 1, 3})));
  EXPECT_FALSE(decode_stats(encode(Stats{1, 2, 3}).substr(1)));
  EXPECT_FALSE(decode_stats(encode(Stats{1, 2, 3}) + "x"));
}

TEST(Conversation, SurvivesTheWire) {
  const auto keep = decode_keep(encode(Keep{7, "c", 9}));
  ASSERT_TRUE(keep);
  EXPECT_EQ(keep->invocation, 7u);
  EXPECT_EQ(keep->conversation, "c");
  EXPECT_EQ(keep->size, 9u);
  const auto state = decode_state(encode(State{"c", true, 4096, 9}));
  ASSERT_TRUE(state);
  EXPECT_EQ(state->conversation, "c");
  EXPECT_TRUE(state->has_state);
  EXPECT_EQ(state->offset, 4096u);
  EXPECT_EQ(state->size, 9u);
  EXPECT_FALSE(decode_keep(encode(Keep{7, "c", 9}) + "x"));
  EXPECT_FALSE(decode_state(encode(State{"c", true, 4096, 9}).substr(1)));
}

TEST(Failure, NeverBlamesThePlatform) {
  const auto failure = decode_failure(encode(Failure{Code::unavailable, "it was you"}));
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->code, Code::function_failed);
}

TEST(Failure, HasTheFunctionsOwnDocument) {
  const auto back = decode_failure(encode(Failure{.message = "T: x", .document = R"({"a":1})"}));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->message, "T: x");
  EXPECT_EQ(back->document, R"({"a":1})");
  const std::string whole = encode(Failure{.message = "x"});
  const auto without = decode_failure(whole.substr(0, whole.size() - 6));  // As dormouse.h says it.
  ASSERT_TRUE(without);
  EXPECT_EQ(without->document, "{}");
  EXPECT_FALSE(decode_failure(whole + "x"));
  const Failure long_one{.message = "x", .document = std::string(document_bytes_max + 1, ' ')};
  EXPECT_EQ(decode_failure(encode(long_one))->document, "{}");
}

TEST(CallAnswer, SaysWhyItFailedInWordsOnly) {
  const auto back = decode_call_answer(
      encode(CallAnswer{.failure = Failure{Code::conflict, "no", R"({"a":1})"}}));
  ASSERT_TRUE(back && back->failure);
  EXPECT_EQ(back->failure->message, "no");
  EXPECT_EQ(back->failure->document, "{}");
}

TEST(Tensors, ShareNoBytes) {
  const auto check = [](std::uint64_t second, std::uint64_t body) {
    const std::vector<Tensor> tensors{{{"x", DataType::fp32, {2}}, 0, 8},
                                      {{"y", DataType::fp32, {2}}, second, 8},
                                      {{"none", DataType::fp32, {0}}, 0, 0}};
    return static_cast<bool>(validate(tensors, body));
  };
  EXPECT_TRUE(check(8, 16));
  EXPECT_FALSE(check(4, 12));
  EXPECT_FALSE(check(0, 8));
}

TEST(Tensors, AreHeldAgainstTheirShape) {
  const auto check = [](std::vector<std::int64_t> shape, DataType type, std::uint64_t size) {
    const Tensor tensor{{"x", type, std::move(shape)}, 8, size};
    return static_cast<bool>(validate(std::span(&tensor, 1), 32));
  };
  EXPECT_TRUE(check({2, 3}, DataType::fp32, 24));
  EXPECT_TRUE(check({}, DataType::fp64, 8));
  EXPECT_FALSE(check({2, 3}, DataType::fp32, 23));
  EXPECT_FALSE(check({-1}, DataType::fp32, 24));
  EXPECT_FALSE(check({std::int64_t{1} << 62, 16}, DataType::fp32, 0));
  EXPECT_FALSE(check({7}, DataType::fp32, 28));  // Past the end of the body.
  EXPECT_TRUE(check({2}, DataType::bytes, 10));
  EXPECT_FALSE(check({3}, DataType::bytes, 10));
}

class Doubler final : public Program {
 public:
  Hello hello() override { return {version, "doubler", "1"}; }
  Result<Prepared> prepare(const Load&) override { return Prepared{}; }
  Result<Ready> load(const Load& load) override {
    if (load.options.contains("fail")) return Error{Code::function_failed, "no such model"};
    const auto ports = load.options.find("ports");
    if (ports == load.options.end()) return Ready{};
    const std::vector<TensorSpec> many(256, {ports->second, DataType::fp32, {1}});
    return Ready{.signature = {many, many}, .platform = {}, .notes = {}};
  }
  Result<Reply> invoke(Invocation& invocation) override {
    const auto body = invocation.body();
    const auto room = invocation.make_room(2 * body.size());
    if (!room) return room.error();
    std::ranges::copy(body, room->begin());
    std::ranges::copy(body, room->begin() + static_cast<std::ptrdiff_t>(body.size()));
    Reply reply;
    for (const std::string& name : invocation.item().outputs) {
      reply.content.tensors.push_back({{name, DataType::uint8, {1}}, 0, 1});
    }
    reply.content.is_tensors = !reply.content.tensors.empty();
    return reply;
  }
};

class Served {
 public:
  Served() : thread_([this] { status = serve(program_, pair_.theirs.number()); }) {}
  ~Served() {
    say(Type::drain, "");
    thread_.join();
    EXPECT_EQ(status, 0);
  }
  void say(Type type, std::string_view payload, std::vector<int> descriptors = {},
           std::uint64_t handle = 0) {
    std::string out;
    append_frame(out, type, 0, handle, payload, descriptors.size());
    EXPECT_TRUE(send_all(pair_.ours.number(), out, std::move(descriptors)));
  }
  Frame hear() {
    auto frame = receiver_.receive();
    CHECK(frame && *frame);
    return std::move(**frame);
  }
  int status = -1;

 private:
  Pair pair_;
  Doubler program_;
  FrameReceiver receiver_{pair_.ours.number()};
  std::thread thread_;
};

TEST(Worker, SaysWhyItCannotLoad) {
  Served worker;
  EXPECT_EQ(worker.hear().header.type, Type::hello);
  worker.say(Type::load, encode(Load{{{"fail", "1"}}}));
  const Frame frame = worker.hear();
  EXPECT_EQ(frame.header.type, Type::init_failed);
  EXPECT_EQ(decode_failure(frame.payload)->message, "no such model");
}

TEST(Worker, SaysThatItsInputsAndOutputsAreTooManyToName) {
  Served worker;
  worker.hear();
  worker.say(Type::load, encode(Load{{{"ports", std::string(120, 'p')}}}));
  const Frame frame = worker.hear();
  ASSERT_EQ(frame.header.type, Type::init_failed);
  EXPECT_EQ(decode_failure(frame.payload)->message,
            "the names and shapes of the model's inputs and outputs take 68622 bytes, the limit is "
            "65536 (64 KiB)");
}

// A program whose fork is itself. It comes to be when the test says so.
class Forkable final : public Program {
 public:
  explicit Forkable(bool refuses) : refuses_(refuses) {}
  Hello hello() override { return {.runtime = "forkable"}; }
  Result<Prepared> prepare(const Load&) override { return Prepared{}; }
  Result<Ready> load(const Load&) override {
    Ready ready;
    if (refuses_) ready.notes["template"] = "no: two threads";
    return ready;
  }
  Result<Reply> invoke(Invocation&) override {
    return Reply{.content = {}, .body = std::to_string(forks) + "," + std::to_string(rehearsals)};
  }
  Result<> fork_instances(int) override {
    wanted.wait(false);
    ++forks;
    return ok;
  }
  void rehearse() override { ++rehearsals; }
  std::atomic<bool> wanted = false;
  std::atomic<int> forks = 0, rehearsals = 0;

 private:
  bool refuses_;
};

// What the program answers after this load: how often it was forked, and how often it rehearsed.
std::string after_load(bool refuses, const char* wanted, bool call_waits) {
  Pair pair;
  Forkable program(refuses);
  const auto say = [&](Type type, std::string_view payload) {
    std::string out;
    append_frame(out, type, 0, 9, payload);
    EXPECT_TRUE(send_all(pair.ours.number(), out, {}));
  };
  const Item item = an_item();
  const auto invoke = [&] { say(Type::invoke, encode(std::span(&item, 1))); };
  FrameReceiver receiver(pair.ours.number());
  const auto hear = [&](Type type) {
    auto frame = receiver.receive();
    CHECK(frame && *frame);
    EXPECT_EQ((*frame)->header.type, type);
    return std::string((*frame)->payload);
  };
  say(Type::load, encode(Load{{{"template", wanted}}}));
  std::thread thread([&] { EXPECT_EQ(serve(program, pair.theirs.number()), 0); });
  hear(Type::hello);
  hear(Type::ready);
  if (call_waits) invoke();
  const bool forks = !refuses && std::string_view(wanted) == "yes";
  program.wanted = true;
  program.wanted.notify_all();
  if (forks) hear(Type::ready);  // The fork's own.
  while (!call_waits && program.rehearsals == 0) std::this_thread::yield();
  if (!call_waits) invoke();
  const std::string said = hear(Type::result);
  say(Type::drain, "");
  thread.join();
  return std::string(decode_answer(said)->inline_body);
}

TEST(Worker, ForksOnlyIfItIsToldToAndCan) {
  EXPECT_EQ(after_load(false, "no", true), "0,0");
  EXPECT_EQ(after_load(true, "yes", true), "0,0");
}

TEST(Worker, AForkThatNobodyWaitsForRehearses) {
  EXPECT_EQ(after_load(false, "yes", true), "1,0");
  EXPECT_EQ(after_load(false, "yes", false), "1,1");
}

TEST(Worker, AnswersSmallBodiesInTheFrame) {
  Served worker;
  worker.hear();
  const Item item = an_item();
  worker.say(Type::invoke, encode(std::span(&item, 1)));
  const Frame frame = worker.hear();
  ASSERT_EQ(frame.header.type, Type::result);
  EXPECT_EQ(frame.header.handle, 9u);
  EXPECT_EQ(decode_answer(frame.payload)->inline_body,
            std::string(item.inline_body) + std::string(item.inline_body));
}

Descriptor file_of(std::size_t size, std::string_view content = {}, off_t at = 0) {
  Descriptor file(memfd_create("body", MFD_CLOEXEC));
  CHECK(ftruncate(file.number(), static_cast<off_t>(size)) == 0);
  CHECK(pwrite(file.number(), content.data(), content.size(), at) ==
        static_cast<ssize_t>(content.size()));
  return file;
}

std::string content_of(const Descriptor& file, std::size_t size, off_t at = 0) {
  std::string content(size, 0);
  CHECK(pread(file.number(), content.data(), size, at) == static_cast<ssize_t>(size));
  return content;
}

TEST(Worker, ReadsAndWritesLargeBodiesInPlace) {
  constexpr std::size_t size = 300'000;
  Served worker;
  worker.hear();
  const Descriptor body = file_of(size + 100, "hi", 100);
  Item item;
  item.handle = 3;
  item.body_size = size;
  item.body_offset = 100;
  item.has_body_memfd = true;
  item.result_bytes_max = 2 * size;
  worker.say(Type::invoke, encode(std::span(&item, 1)), {body.number()});
  Frame frame = worker.hear();
  ASSERT_EQ(frame.header.type, Type::ask_room);
  EXPECT_EQ(frame.header.handle, 3u);
  EXPECT_EQ(*decode_ask_room(frame.payload), 2 * size);
  const Descriptor room = file_of(2 * size);
  worker.say(Type::room, "", {room.number()}, 3);
  frame = worker.hear();
  ASSERT_EQ(frame.header.type, Type::result);
  const auto answer = decode_answer(frame.payload);
  EXPECT_TRUE(answer->in_memfd);
  EXPECT_EQ(answer->body_size, 2 * size);
  EXPECT_EQ(content_of(room, 2, size), "hi");
}

// The body of the call that asks lies in the frame; what comes while it waits is heard afterwards.
TEST(Worker, HearsWhatComesWhileItAsksForRoom) {
  Served worker;
  worker.hear();
  const std::string text(40'000, 'x');
  Item first = an_item();
  first.content = {.content_type = "text/plain"};
  first.inline_body = text;
  first.body_size = text.size();
  worker.say(Type::invoke, encode(std::span(&first, 1)));
  ASSERT_EQ(worker.hear().header.type, Type::ask_room);
  for (const std::uint64_t handle : {20, 21, 22, 23}) {
    Item next = an_item();
    next.handle = handle;
    const Descriptor body = file_of(24, "from a file of its own  ");
    next.has_body_memfd = true;
    worker.say(Type::invoke, encode(std::span(&next, 1)), {body.number()});
  }
  const Descriptor room = file_of(2 * text.size());
  worker.say(Type::room, "", {room.number()}, first.handle);
  EXPECT_EQ(worker.hear().header.handle, first.handle);
  EXPECT_EQ(content_of(room, 2 * text.size()), text + text);
  for (const std::uint64_t handle : {20, 21, 22, 23}) {
    const Frame frame = worker.hear();
    EXPECT_EQ(frame.header.handle, handle);
    EXPECT_EQ(decode_answer(frame.payload)->inline_body.substr(0, 24), "from a file of its own  ");
  }
}

Item an_item_of_tensors(int count, std::size_t name_bytes, const std::string& body) {
  Item item = an_item();
  item.content = {.content_type = "text/plain"};
  item.outputs.assign(static_cast<std::size_t>(count), std::string(name_bytes, 'y'));
  item.inline_body = body;
  item.body_size = body.size();
  return item;
}

// A body that would fit in a frame, and its tensors too, but not both.
TEST(Worker, WritesAnAnswerToAFileIfItDoesNotFitBesideItsTensors) {
  Served worker;
  worker.hear();
  const std::string text(20'000, 'x');
  const Item item = an_item_of_tensors(200, 100, text);
  worker.say(Type::invoke, encode(std::span(&item, 1)));
  const Frame asked = worker.hear();
  ASSERT_EQ(asked.header.type, Type::ask_room);
  EXPECT_EQ(*decode_ask_room(asked.payload), 40'000u);
  const Descriptor room = file_of(40'000);
  worker.say(Type::room, "", {room.number()}, item.handle);
  const Frame frame = worker.hear();
  ASSERT_EQ(frame.header.type, Type::result);
  const auto answer = decode_answer(frame.payload);
  EXPECT_TRUE(answer->in_memfd);
  EXPECT_EQ(answer->body_size, 40'000u);
  EXPECT_EQ(answer->content.tensors.size(), 200u);
  EXPECT_EQ(content_of(room, 40'000), text + text);
}

TEST(Worker, FailsACallWhoseTensorsAreTooManyToName) {
  Served worker;
  worker.hear();
  const std::string text(8, 'x');
  const Item item = an_item_of_tensors(256, 240, text);
  worker.say(Type::invoke, encode(std::span(&item, 1)));
  worker.hear();
  const Descriptor room = file_of(16);
  worker.say(Type::room, "", {room.number()}, item.handle);
  const Frame frame = worker.hear();
  ASSERT_EQ(frame.header.type, Type::failed);
  EXPECT_TRUE(decode_failure(frame.payload)
                  ->message.starts_with("the names and shapes of the answer's tensors take "));
}

TEST(Worker, FailsTheOneCallThatThereIsNoRoomFor) {
  Served worker;
  worker.hear();
  const std::string text(40'000, 'x');
  Item item = an_item();
  item.inline_body = text;
  item.body_size = text.size();
  worker.say(Type::invoke, encode(std::span(&item, 1)));
  ASSERT_EQ(worker.hear().header.type, Type::ask_room);
  worker.say(Type::room, "", {}, item.handle);
  EXPECT_EQ(worker.hear().header.type, Type::failed);
  item = an_item();
  worker.say(Type::invoke, encode(std::span(&item, 1)));
  EXPECT_EQ(worker.hear().header.type, Type::result);
}

// One read brings both frames, and the descriptors of the second with the first.
TEST(FrameReceiver, GivesDescriptorsToTheFrameTheyBelongTo) {
  Pair pair;
  std::string first, second;
  append_frame(first, Type::cancel, 0, 1, "");
  append_frame(second, Type::invoke, 0, 2, "payload", 1);
  const Descriptor file = file_of(4, "mine");
  ASSERT_TRUE(send_all(pair.ours.number(), first, {}));
  ASSERT_TRUE(send_all(pair.ours.number(), second, {file.number()}));
  FrameReceiver receiver(pair.theirs.number());
  EXPECT_TRUE((*receiver.receive())->descriptors.empty());
  const auto frame = receiver.receive();
  ASSERT_EQ((*frame)->descriptors.size(), 1u);
  EXPECT_EQ(content_of((*frame)->descriptors.front(), 4), "mine");
}

TEST(FrameReceiver, RefusesAFrameWithoutTheDescriptorsItAnnounces) {
  Pair pair;
  std::string text;
  append_frame(text, Type::invoke, 0, 2, "payload", 1);
  ASSERT_TRUE(send_all(pair.ours.number(), text, {}));
  EXPECT_EQ(FrameReceiver(pair.theirs.number()).receive().error().code, Code::invalid_argument);
}

TEST(Worker, RefusesAnAnswerOverTheLimit) {
  Served worker;
  worker.hear();
  Item item = an_item();
  item.result_bytes_max = 10;
  worker.say(Type::invoke, encode(std::span(&item, 1)));
  const Frame frame = worker.hear();
  ASSERT_EQ(frame.header.type, Type::failed);
  EXPECT_EQ(decode_failure(frame.payload)->code, Code::function_failed);
}

}  // namespace
}  // namespace dormouse::wire
