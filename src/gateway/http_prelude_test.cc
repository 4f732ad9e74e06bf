#include "gateway/http_prelude.h"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>

namespace dormouse::gateway {
namespace {

constexpr const char* prelude_type = "application/vnd.awslambda.http-integration-response";

class Pieces final : public fleet::Stream {
 public:
  explicit Pieces(std::vector<std::string> all) : all_(std::move(all)) {}

  asio::awaitable<Result<std::optional<std::string>>> next() override {
    if (at_ < all_.size()) co_return all_[at_++];
    co_return std::nullopt;
  }
  const ledger::ReceiptPtr& receipt() const override { return receipt_; }
  asio::awaitable<void> give_up(Error why) override {
    EXPECT_EQ(why.code, Code::function_failed);
    receipt_ = std::make_shared<ledger::Receipt>();
    co_return;
  }

 private:
  std::vector<std::string> all_;
  std::size_t at_ = 0;
  ledger::ReceiptPtr receipt_;
};

asio::awaitable<void> take(fleet::Outcome* outcome, Prelude* prelude, std::string* body) {
  auto taking = take_prelude(outcome);
  *prelude = co_await std::move(taking);
  if (!outcome->answer) co_return;
  *body = outcome->answer->body.view().value();
  while (outcome->answer->stream) {
    auto reading = outcome->answer->stream->next();
    const auto piece = co_await std::move(reading);
    if (!piece || !*piece) co_return;
    *body += **piece;
  }
}

struct Taken {
  Prelude prelude;
  std::string body, type, error;
};

Taken taken(fleet::Answer answer) {
  answer.content.content_type = prelude_type;
  EXPECT_TRUE(has_prelude(answer.content));
  fleet::Outcome outcome{.answer = std::move(answer), .receipt = {}};
  Taken all;
  asio::io_context context;
  asio::co_spawn(context, take(&outcome, &all.prelude, &all.body), asio::detached);
  context.run();
  if (!outcome.answer)
    return {.prelude = {}, .body = {}, .type = {}, .error = outcome.answer.error().message};
  all.type = outcome.answer->content.content_type;
  return all;
}

Taken streamed(std::vector<std::string> pieces) {
  fleet::Answer answer;
  answer.stream = std::make_unique<Pieces>(std::move(pieces));
  return taken(std::move(answer));
}

const std::string json = R"({"statusCode":404,"headers":{"content-type":"text/plain","X-A":"b"}})";
const std::string nuls(8, '\0');

TEST(Prelude, IsTakenOffAStreamHoweverItIsCut) {
  const std::string whole = json + nuls + std::string("the\0body", 8);
  for (std::size_t size = 1; size <= whole.size(); ++size) {
    std::vector<std::string> pieces;
    for (std::size_t i = 0; i < whole.size(); i += size) pieces.push_back(whole.substr(i, size));
    const Taken all = streamed(std::move(pieces));
    EXPECT_EQ(all.error, "") << size;
    EXPECT_EQ(all.prelude.status, 404);
    EXPECT_EQ(all.type, "text/plain");
    EXPECT_EQ(all.prelude.fields.find("x-a"), "b");
    EXPECT_EQ(all.body, std::string("the\0body", 8)) << size;
  }
}

TEST(Prelude, IsTakenOffAWholeBody) {
  fleet::Answer answer;
  answer.body = http::Body("{}" + nuls + "x");
  const Taken all = taken(std::move(answer));
  EXPECT_EQ(all.prelude.status, 200);
  EXPECT_EQ(all.type, "application/octet-stream");
  EXPECT_EQ(all.body, "x");
}

TEST(Prelude, ThatDoesNotEndIsTheFunctionsFailure) {
  EXPECT_NE(streamed({json}).error.find("eight NUL bytes"), std::string::npos);
  const std::vector<std::string> endless(40, std::string(1024, ' '));
  EXPECT_NE(streamed(endless).error.find("eight NUL bytes"), std::string::npos);
  fleet::Answer whole;
  whole.body = http::Body(json);
  EXPECT_NE(taken(std::move(whole)).error.find("eight NUL bytes"), std::string::npos);
}

TEST(Prelude, OfAStatusWithoutABodyIsReadToItsEnd) {
  const Taken all = streamed({R"({"statusCode":204})" + nuls, "never", "sent"});
  EXPECT_EQ(all.prelude.status, 204);
  EXPECT_EQ(all.error, "");
}

TEST(Prelude, HasFieldsAndCookies) {
  const auto read = read_prelude(
      R"({"statusCode":201,"headers":{"A":["1","2"],"N":3},"cookies":["a=1","b=2"],"x":null})");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->fields.lines(), "A: 1\r\nA: 2\r\nN: 3\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n");
  EXPECT_EQ(read->status, 201);
}

TEST(Prelude, NamesWhatCannotBeObeyed) {
  const struct {
    const char* text;
    const char* named;
  } rows[] = {
      {R"({"statusCode":101})", "statusCode"},
      {R"({"statusCode":"200"})", "statusCode"},
      {R"({"headers":["a"]})", "headers"},
      {R"({"headers":{"a b":"c"}})", "\"a b\""},
      {R"({"headers":{"a":"b\nc: d"}})", "\"a\""},
      {R"({"headers":{"a":{}}})", "\"a\""},
      {R"({"headers":{"Dormouse-Cost":"0"}})", "\"Dormouse-Cost\""},
      {R"({"cookies":"a=b"})", "cookies"},
      {R"({"cookies":[1]})", "cookies"},
      {R"({"body":"x"})", "\"body\""},
      {"[]", "not a JSON object"},
      {"{", "not acceptable JSON"},
  };
  for (const auto& row : rows) {
    const auto read = read_prelude(row.text);
    ASSERT_FALSE(read) << row.text;
    EXPECT_EQ(read.error().code, Code::function_failed);
    EXPECT_NE(read.error().message.find(row.named), std::string::npos) << read.error().message;
  }
}

}  // namespace
}  // namespace dormouse::gateway
