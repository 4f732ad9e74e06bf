#include "fleet/attempt.h"

#include <gtest/gtest.h>

#include "wire/messages.h"

namespace dormouse::fleet {
namespace {

// `bytes` of each of `count` tensors, whose names are as long as given.
wire::Content tensors(std::size_t count, std::size_t name_bytes, std::size_t bytes) {
  wire::Content content{.is_tensors = true};
  for (std::size_t i = 0; i < count; ++i) {
    const auto length = static_cast<std::int64_t>(bytes);
    content.tensors.push_back(
        {{std::string(name_bytes, 'x'), wire::DataType::uint8, {length}}, i * bytes, bytes});
  }
  return content;
}

std::string content_of(const Order& order, std::size_t size) {
  CHECK(order.descriptors.size() == 1);
  const int copy = dup(order.descriptors.front()->number());
  return std::string(*http::Body(copy, 0, size).view());
}

// The one item of an order.
wire::Item item_of(const Order& order) {
  const auto items = wire::decode_items(order.payload);
  CHECK(items && items->size() == 1);
  return items->front();
}

TEST(Order, PutsABodyBesideTheFrameIfItDoesNotFitThereWithItsTensors) {
  const std::string bytes(48'000, 'b');
  Invocation call{.id = {}, .revision = {}, .content = tensors(250, 42, 192), .accepted = {}};
  call.body = http::Body(bytes);
  const auto large = order(call, {});
  ASSERT_TRUE(large) << large.error().message;
  EXPECT_TRUE(item_of(*large).has_body_memfd);
  EXPECT_EQ(item_of(*large).body_size, bytes.size());
  EXPECT_EQ(content_of(*large, bytes.size()), bytes);

  call.content = tensors(1, 42, 48'000);
  const auto small = order(call, {});
  ASSERT_TRUE(small);
  EXPECT_TRUE(small->descriptors.empty());
  EXPECT_EQ(item_of(*small).inline_body, bytes);
}

TEST(Order, RefusesTensorsThatAreTooManyToName) {
  const Invocation call{.id = {},
                        .revision = {},
                        .content = tensors(256, 256, 0),
                        .body = http::Body("b"),
                        .accepted = {}};
  const auto refused = order(call, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::too_large);
}

TEST(AnswerOfCall, PutsABodyBesideTheFrameIfItDoesNotFitThereWithItsTensors) {
  const std::string bytes(48'000, 'b');
  Answer answer{.content = tensors(250, 42, 192), .body = http::Body(bytes)};
  const Order order = answer_of_call(std::move(answer));
  const auto said = wire::decode_call_answer(order.payload);
  ASSERT_TRUE(said);
  ASSERT_FALSE(said->failure) << said->failure->message;
  EXPECT_TRUE(said->has_body_memfd);
  EXPECT_EQ(content_of(order, bytes.size()), bytes);
}

TEST(AnswerOfCall, SaysThatItsTensorsAreTooManyToName) {
  const Order order = answer_of_call(Answer{.content = tensors(256, 256, 0), .body = {}});
  const auto said = wire::decode_call_answer(order.payload);
  ASSERT_TRUE(said && said->failure);
  EXPECT_EQ(said->failure->code, Code::too_large);
  EXPECT_TRUE(order.descriptors.empty());
}

}  // namespace
}  // namespace dormouse::fleet
