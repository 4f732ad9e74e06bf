#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

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
  append_frame(out, Type::ready, flag_end, 7, "abc");
  const auto header = parse_header(std::string_view(out).substr(0, header_size));
  ASSERT_TRUE(header);
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

TEST(Failure, NeverBlamesThePlatform) {
  const auto failure = decode_failure(encode(Failure{Code::unavailable, "it was you"}));
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->code, Code::function_failed);
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
    return Ready{};
  }
  Result<Reply> invoke(Invocation& invocation) override {
    const auto body = invocation.body();
    const auto room = invocation.make_room(2 * body.size());
    if (!room) return room.error();
    std::ranges::copy(body, room->begin());
    std::ranges::copy(body, room->begin() + static_cast<std::ptrdiff_t>(body.size()));
    return Reply{};
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
  void say(Type type, std::string_view payload, std::vector<int> descriptors = {}) {
    std::string out;
    append_frame(out, type, 0, 0, payload);
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

TEST(Worker, ReadsAndWritesLargeBodiesInPlace) {
  constexpr std::size_t size = 300'000;
  Served worker;
  worker.hear();
  const Descriptor body(memfd_create("body", MFD_CLOEXEC));
  const Descriptor result(memfd_create("result", MFD_CLOEXEC));
  ASSERT_EQ(ftruncate(body.number(), size + 100), 0);
  ASSERT_EQ(ftruncate(result.number(), 2 * size), 0);
  ASSERT_EQ(pwrite(body.number(), "hi", 2, 100), 2);
  Item item;
  item.handle = 3;
  item.body_size = size;
  item.body_offset = 100;
  item.has_body_memfd = item.has_result_memfd = true;
  item.result_bytes_max = 2 * size;
  worker.say(Type::invoke, encode(std::span(&item, 1)), {body.number(), result.number()});
  const Frame frame = worker.hear();
  ASSERT_EQ(frame.header.type, Type::result);
  const auto answer = decode_answer(frame.payload);
  EXPECT_TRUE(answer->in_memfd);
  EXPECT_EQ(answer->body_size, 2 * size);
  char got[2];
  ASSERT_EQ(pread(result.number(), got, 2, size), 2);
  EXPECT_EQ(std::string_view(got, 2), "hi");
}

TEST(Worker, RefusesAnAnswerOverTheLimit) {
  Served worker;
  worker.hear();
  Item item = an_item();
  item.result_bytes_max = 10;
  worker.say(Type::invoke, encode(std::span(&item, 1)));
  const Frame frame = worker.hear();
  ASSERT_EQ(frame.header.type, Type::failed);
  EXPECT_EQ(decode_failure(frame.payload)->code, Code::too_large);
}

}  // namespace
}  // namespace dormouse::wire
