#include "gateway/openai.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "gateway/json.h"

namespace dormouse::gateway {
namespace {

TEST(OpenAiHead, IsTheModelAndTheConversationWhereverTheyStand) {
  struct {
    const char* body;
    const char* model;
    const char* conversation;
  } rows[] = {
      {R"({"model":"m"})", "m", "none"},
      {R"({"messages":[{"model":"no","role":"user"}],"model":"m"})", "m", "none"},
      {R"({"model":"m","metadata":{"model":"no","id":"no","conversation":"no"}})", "m", "none"},
      {R"({"model":"m","conversation":"c"})", "m", "c"},
      {R"({"conversation":{"id":"c"},"model":"m"})", "m", "c"},
      {R"({"conversation":{"of":{"id":"no"},"x":["id"],"id":"c"},"model":"m"})", "m", "c"},
      {R"({"model":"m","conversation":""})", "m", ""},
      {R"({"model":"m","conversation":null,"n":1,"t":0.5,"u":18446744073709551615})", "m", "none"},
      {R"({"model":"m","stop":["model","conversation"]})", "m", "none"},
      {R"({"mod\u0065l":"caf\u00e9"})", "café", "none"},
  };
  for (const auto& row : rows) {
    const auto head = read_openai_head(row.body);
    ASSERT_TRUE(head) << row.body << ": " << head.error().message;
    EXPECT_EQ(head->model, row.model) << row.body;
    EXPECT_EQ(head->conversation.value_or("none"), row.conversation) << row.body;
  }
}

TEST(OpenAiHead, IsRefusedWithTheParamThatIsWrong) {
  struct {
    std::string body, why;
  } rows[] = {
      {"{}", "model: is missing; GET /v1/models lists them"},
      {R"({"model":1})", "model: must be a string"},
      {R"({"model":null})", "model: must be a string"},
      {R"({"model":{"id":"m"}})", "model: must be a string"},
      {R"({"model":["m"]})", "model: must be a string"},
      {R"({"model":"m","model":"n"})", "model: is there twice"},
      {R"({"model":"m","conversation":7})", "conversation: must be a string"},
      {R"({"model":"m","conversation":{"of":"c"}})", "conversation: an object must have an \"id\""},
      {R"({"model":"m","conversation":{"id":7}})", "conversation: must be a string"},
      {R"({"model":"m","conversation":"a","conversation":{"id":"b"}})",
       "conversation: is there twice"},
      {R"("model")", "the body must be a JSON object"},
      {"[]", "the body must be a JSON object"},
      {"", "not acceptable JSON: incomplete JSON at byte 0"},
      {R"({"model":"m"} x)", "not acceptable JSON: extra data at byte 14"},
      {R"({"model":"m","x":)" + std::string(101, '[') + std::string(101, ']') + "}",
       "not acceptable JSON: too deep at byte 116"},
      {"{\"model\":\"m\",\"x\":\"\xff\"}", "not acceptable JSON: syntax error at byte 18"},
  };
  for (const auto& row : rows) {
    const auto head = read_openai_head(row.body);
    ASSERT_FALSE(head) << row.body;
    EXPECT_EQ(head.error().message, row.why) << row.body;
  }
}

TEST(OpenAiHead, KeepsNoMoreOfANameThanAnErrorNeeds) {
  const auto head = read_openai_head(R"({"model":")" + std::string(100'000, 'm') + "\"}");
  ASSERT_TRUE(head);
  EXPECT_EQ(head->model.size(), 257u);
}

TEST(OpenAiError, HasTheFieldsThatClientsHaveClassesFor) {
  struct {
    Error error;
    int status;
    const char *message, *type, *param, *code;
  } rows[] = {
      {{Code::invalid_argument, "temperature: must be between 0 and 2"},
       400,
       "temperature: must be between 0 and 2",
       "invalid_request_error",
       "\"temperature\"",
       "\"invalid_value\""},
      {{Code::invalid_argument, "messages[1].content: context: there are 5000 tokens, 4096 fit"},
       400,
       "messages[1].content: there are 5000 tokens, 4096 fit",
       "invalid_request_error",
       "\"messages[1].content\"",
       "\"context_length_exceeded\""},
      {{Code::invalid_argument, "context: there is no context"},
       400,
       "context: there is no context",
       "invalid_request_error",
       "\"context\"",
       "\"invalid_value\""},
      {{Code::invalid_argument, "not acceptable JSON: it is cut"},
       400,
       "not acceptable JSON: it is cut",
       "invalid_request_error",
       "null",
       "\"invalid_value\""},
      {{Code::unsupported, "tools: this model's template has none"},
       400,
       "tools: this model's template has none",
       "invalid_request_error",
       "\"tools\"",
       "\"unsupported_parameter\""},
      {{Code::unauthorized, "a key is needed"},
       401,
       "a key is needed",
       "invalid_request_error",
       "null",
       "\"invalid_api_key\""},
      {{Code::not_found, "model: there is none"},
       404,
       "model: there is none",
       "invalid_request_error",
       "\"model\"",
       "\"model_not_found\""},
      {{Code::throttled, "the queue is full"},
       429,
       "the queue is full",
       "rate_limit_error",
       "null",
       "\"rate_limit_exceeded\""},
      {{Code::function_failed, "temperature: too hot"},
       502,
       "temperature: too hot",
       "server_error",
       "null",
       "\"server_error\""},
      {{Code::unavailable, "stopping"},
       503,
       "stopping",
       "server_error",
       "null",
       "\"service_unavailable\""},
      {{Code::deadline_exceeded, "timed out"},
       504,
       "timed out",
       "server_error",
       "null",
       "\"timeout\""},
  };
  for (const auto& row : rows) {
    const auto response = openai_error(row.error);
    EXPECT_EQ(response.status, row.status) << row.message;
    const auto body = parse_json(*std::get<http::Body>(response.body).view());
    ASSERT_TRUE(body);
    const json::value& error = body->at("error");
    EXPECT_EQ(error.at("message").as_string(), row.message);
    EXPECT_EQ(error.at("type").as_string(), row.type) << row.message;
    EXPECT_EQ(json::serialize(error.at("param")), row.param) << row.message;
    EXPECT_EQ(json::serialize(error.at("code")), row.code) << row.message;
    EXPECT_EQ(response.fields.find("Retry-After").has_value(),
              row.status == 429 || row.status == 503);
  }
  EXPECT_EQ(
      openai_error({Code::throttled, "full"}, std::chrono::seconds(7)).fields.find("Retry-After"),
      "7");
}

// Sent in pieces of so many bytes, and what of it has passed.
std::string passed(OpenAiEvents& events, std::string_view text, std::size_t piece_bytes) {
  std::string all;
  for (; !text.empty(); text.remove_prefix(std::min(piece_bytes, text.size()))) {
    all += events.add(std::string(text.substr(0, piece_bytes)));
  }
  return all;
}

TEST(OpenAiEvents, AreWholeBeforeAnErrorWhereverTheirStreamBreaksOff) {
  const Error late{Code::deadline_exceeded, "late"};
  const std::string error = "data: " + openai_error_json(late) + "\n\n";
  for (const std::string end : {"\n\n", "\r\n\r\n", "\r\r"}) {
    const std::string first = "data: {\"n\":1}" + end, both = first + "data: {\"n\":22}" + end;
    for (std::size_t bytes = 0; bytes <= both.size(); ++bytes) {
      for (const std::size_t piece : {1, 2, 3, 7, 100}) {
        OpenAiEvents events;
        const std::string whole = bytes == both.size() ? both : bytes >= first.size() ? first : "";
        EXPECT_EQ(passed(events, both.substr(0, bytes), piece), whole) << bytes << " by " << piece;
        EXPECT_EQ(events.fail(late), error);
      }
    }
  }
}

TEST(OpenAiEvents, OfAStreamThatEndsPassToItsLastByte) {
  OpenAiEvents events;
  EXPECT_EQ(events.add("data: 1\n\ndata: [DO"), "data: 1\n\n");
  EXPECT_EQ(events.add("NE]\n"), "");
  EXPECT_EQ(events.rest(), "data: [DONE]\n");
}

TEST(OpenAiEvents, ThatAreVeryLargePassInPartsAndEndBeforeAnError) {
  const Error late{Code::deadline_exceeded, "late"};
  const std::string error = "data: " + openai_error_json(late) + "\n\n";
  const std::string large = "data: " + std::string(1 << 20, 'a');
  OpenAiEvents events;
  const std::string some = passed(events, large, 1000);
  EXPECT_TRUE(large.starts_with(some));
  EXPECT_GT(some.size(), large.size() - (65 << 10));  // More is not kept in memory.
  EXPECT_EQ(events.fail(late), "\n\n" + error);
  EXPECT_EQ(passed(events, "b\n\ndata: 2\n\ndat", 3).substr(0, 3), "b\n\n");
  EXPECT_EQ(events.fail(late), error);
}

TEST(OpenAiModels, AreListedWithWhenTheyWereDeployed) {
  EXPECT_EQ(openai_models({{"chat", {1'700'000'000'999}}}),
            R"({"object":"list","data":[{"id":"chat","object":"model","created":1700000000,)"
            R"("owned_by":"dormouse"}]})");
  EXPECT_EQ(openai_models({}), R"({"object":"list","data":[]})");
}

}  // namespace
}  // namespace dormouse::gateway
