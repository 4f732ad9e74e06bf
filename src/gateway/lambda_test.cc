#include "gateway/lambda.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "gateway/event_stream.h"
#include "gateway/json.h"
#include "gateway/route.h"

namespace dormouse::gateway {
namespace {

http::Head head(std::string method, std::string path) {
  return {.method = std::move(method),
          .path = std::move(path),
          .query = "",
          .fields = {},
          .content_length = {}};
}

TEST(LambdaRoute, KnowsWhatInvokesAndLeavesTheRestToTheControlApi) {
  const struct {
    const char* path;
    Place place;
  } rows[] = {
      {"/2015-03-31/functions/greet/invocations", Place::lambda_invoke},
      {"/2021-11-15/functions/greet/response-streaming-invocations", Place::lambda_stream},
      {"/2015-03-31/functions/greet/response-streaming-invocations", Place::lambda_api},
      {"/2021-11-15/functions/greet/invocations", Place::lambda_api},
      {"/2015-03-31/functions", Place::lambda_api},
      {"/2015-03-31/functions/", Place::lambda_api},
      {"/2015-03-31/functions//invocations", Place::lambda_api},
      {"/2014-11-13/functions/greet/invoke-async", Place::lambda_api},
      {"/2015-3-31/functions", Place::nowhere},
      {"/f/2015-03-31", Place::native},
  };
  for (const auto& row : rows)
    EXPECT_EQ(route(head("POST", row.path)).place, row.place) << row.path;
}

TEST(LambdaName, IsANameAPartOfAnArnOrAWholeOne) {
  const struct {
    const char* text;
    const char* name;
    const char* qualifier;
  } rows[] = {
      {"greet", "greet", ""},
      {"greet:3", "greet", "3"},
      {"greet:$LATEST", "greet", "$LATEST"},
      {"123456789012:function:greet", "greet", ""},
      {"123456789012:function:greet:live", "greet", "live"},
      {"arn:aws:lambda:eu-west-1:123456789012:function:greet", "greet", ""},
      {"arn:aws-cn:lambda:cn-north-1:123456789012:function:greet:3", "greet", "3"},
  };
  for (const auto& row : rows) {
    const auto read = read_lambda_name(row.text, "");
    ASSERT_TRUE(read) << row.text;
    EXPECT_EQ(read->name, row.name) << row.text;
    EXPECT_EQ(read->qualifier, row.qualifier) << row.text;
  }
  for (const char* text : {"", ":", "greet:", ":3", "greet:3:4", "arn:aws:s3:::bucket/greet",
                           "arn:aws:lambda:eu-west-1:123456789012:layer:greet:3"}) {
    EXPECT_FALSE(read_lambda_name(text, "")) << text;
  }
}

TEST(LambdaName, HasOneQualifier) {
  EXPECT_EQ(read_lambda_name("greet", "Qualifier=%24LATEST")->qualifier, "$LATEST");
  EXPECT_EQ(read_lambda_name("greet:3", "Qualifier=3")->qualifier, "3");
  EXPECT_FALSE(read_lambda_name("greet:3", "Qualifier=4"));
}

Result<LambdaWishes> wishes(std::string name, std::string value) {
  http::Fields fields;
  fields.add(name, value);
  return read_lambda_wishes(fields);
}

TEST(LambdaWishes, AreRefusedByNameIfTheyAreNotToBeHad) {
  EXPECT_EQ(read_lambda_wishes({})->call, LambdaCall::run);
  EXPECT_EQ(wishes("X-Amz-Invocation-Type", "DryRun")->call, LambdaCall::dry_run);
  EXPECT_TRUE(wishes("x-amz-log-type", "Tail")->log_tail);
  const struct {
    const char* field;
    const char* value;
    const char* named;
  } rows[] = {
      {"X-Amz-Invocation-Type", "Event", "InvocationType: Event"},
      {"X-Amz-Invocation-Type", "requestresponse", "InvocationType"},
      {"X-Amz-Log-Type", "All", "LogType"},
      {"X-Amz-Tenant-Id", "a", "TenantId"},
      {"X-Amz-Durable-Execution-Name", "a", "DurableExecutionName"},
  };
  for (const auto& row : rows) {
    const auto refused = wishes(row.field, row.value);
    ASSERT_FALSE(refused) << row.field;
    EXPECT_NE(refused.error().message.find(row.named), std::string::npos);
  }
}

TEST(LambdaPayload, IsOneJsonValueOrNothing) {
  for (const char* text : {"", "{}", "null", "7", "\"\\u00fc\"", " [1, 2e5, {\"a\": null}] "}) {
    EXPECT_TRUE(check_lambda_payload(text)) << text;
  }
  for (const char* text : {"{", "a", "{} {}", "[1,]", "'a'", "\xff", "\"\xff\"", "NaN", " "}) {
    EXPECT_FALSE(check_lambda_payload(text)) << text;
  }
  EXPECT_TRUE(check_lambda_payload(std::string(500, '[') + std::string(500, ']')));
  EXPECT_FALSE(check_lambda_payload(std::string(1'000'000, '[')));
}

json::object parsed(std::string_view text) {
  return parse_json(text).value().get_object();
}

TEST(LambdaErrorDocument, SaysTheTypeThatTheFunctionGaveOrHowItEnded) {
  using namespace std::chrono_literals;
  const InvocationId id = InvocationId::make({1}, {1, 2});
  const std::string about = "RequestId: " + id.text() + " Error: ";
  const struct {
    Error error;
    std::string type, message;
  } rows[] = {
      {{Code::function_failed, "ValueError: no: such line"}, "ValueError", "no: such line"},
      {{Code::function_failed, "botocore.Oops: x"}, "botocore.Oops", "x"},
      {{Code::function_failed, "exited with status 4"},
       "Runtime.ExitError",
       about + "exited with status 4"},
      {{Code::function_failed, "starting greet: it broke"},
       "Runtime.ExitError",
       about + "starting greet: it broke"},
      {{Code::deadline_exceeded, "too late"},
       "Sandbox.Timedout",
       about + "Task timed out after 3.50 seconds"},
  };
  for (const auto& row : rows) {
    const auto document = parsed(lambda_error_document(row.error, id, 3500ms));
    EXPECT_EQ(document.at("errorType"), row.type.c_str());
    EXPECT_EQ(document.at("errorMessage"), row.message.c_str());
  }
}

TEST(LambdaErrorDocument, IsTheFunctionsOwnAndWhatItLeavesOutIsInItsOneLine) {
  const struct {
    std::string message, document, expected;
  } rows[] = {
      {"NotFound", R"({"errorType":"NotFound"})", R"({"errorType":"NotFound","errorMessage":""})"},
      {"string: x", R"({"errorType":"string"})", R"({"errorType":"string","errorMessage":"x"})"},
      {"my::Oops: x", R"({"stackTrace":["at 1"],"errorType":"my::Oops","errorMessage":"y"})",
       R"({"stackTrace":["at 1"],"errorType":"my::Oops","errorMessage":"y"})"},
      {"A::B: no: such", R"({"errorType":"A::B"})",
       R"({"errorType":"A::B","errorMessage":"no: such"})"},
      {"no such name", "{}", R"({"errorType":"Function.Unknown","errorMessage":"no such name"})"},
      {"ValueError: no", "{}", R"({"errorType":"ValueError","errorMessage":"no"})"},
      {"ValueError: no", "{broken", R"({"errorType":"ValueError","errorMessage":"no"})"},
      {"no", R"({"errorType":7})", R"({"errorType":7,"errorMessage":"no"})"},
      {"no", "[1]", R"({"errorType":"Function.Unknown","errorMessage":"no"})"},
  };
  for (const auto& row : rows) {
    const Error error{Code::function_failed, row.message, row.document};
    EXPECT_EQ(lambda_error_document(error, {}, {}), row.expected);
  }
}

TEST(LambdaFault, HasAStatusAndATypeForEveryCode) {
  for (const Code code : every_code) {
    const LambdaFault fault = lambda_fault({code, "why"});
    EXPECT_GE(fault.status, 400) << name(code);
    EXPECT_TRUE(fault.type.ends_with("Exception")) << name(code);
  }
}

TEST(LambdaFault, IsSaidInAHeaderAndInTheBody) {
  using namespace std::chrono_literals;
  const auto response =
      lambda_response(lambda_fault({Code::throttled, "its queue is full"}, 1500ms));
  EXPECT_EQ(response.status, 429);
  EXPECT_EQ(response.fields.find("x-amzn-ErrorType"), "TooManyRequestsException");
  EXPECT_EQ(response.fields.find("Retry-After"), "2");
  const auto body = parsed(std::get<http::Body>(response.body).text());
  EXPECT_EQ(body.at("message"), "its queue is full");
  EXPECT_EQ(body.at("Message"), "its queue is full");
  EXPECT_EQ(body.at("Type"), "User");
  EXPECT_EQ(body.at("Reason"), "ReservedFunctionConcurrentInvocationLimitExceeded");
}

TEST(LambdaLog, IsTheEndOfWhatThisInvocationPrinted) {
  std::vector<logs::Line> lines(2);
  lines[0] = {.text = std::string(5000, 'x')};
  lines[1] = {.text = "end"};
  EXPECT_EQ(lambda_log_result(lines), base64(std::string(4091, 'x') + "\nend\n"));
  EXPECT_EQ(lambda_log_result({}), "");
}

TEST(Base64, IsPadded) {
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("a"), "YQ==");
  EXPECT_EQ(base64("ab"), "YWI=");
  EXPECT_EQ(base64("abc\xff"), "YWJj/w==");
}

// ---- event streams ----

std::uint32_t big_endian(std::string_view bytes) {
  std::uint32_t value = 0;
  for (const char c : bytes.substr(0, 4)) value = value << 8 | static_cast<unsigned char>(c);
  return value;
}

struct Event {
  std::string type, payload;
};

std::vector<Event> read_events(std::string_view bytes) {
  std::vector<Event> events;
  while (!bytes.empty()) {
    const std::size_t total = big_endian(bytes), headers = big_endian(bytes.substr(4));
    const std::string_view message = bytes.substr(0, total);
    EXPECT_EQ(big_endian(message.substr(8)), crc32(message.substr(0, 8)));
    EXPECT_EQ(big_endian(message.substr(total - 4)), crc32(message.substr(0, total - 4)));
    const std::string_view type = message.substr(12 + 1 + 11 + 1);  // After ":event-type", a text.
    events.push_back({std::string(type.substr(2, static_cast<unsigned char>(type[1]))),
                      std::string(message.substr(12 + headers, total - 16 - headers))});
    bytes.remove_prefix(total);
  }
  return events;
}

TEST(EventStream, HasTheChecksumThatEverybodyKnows) {
  EXPECT_EQ(crc32("123456789"), 0xCBF43926u);
}

TEST(EventStream, IsAMessageByteForByte) {
  constexpr EventHeader headers[] = {{"a", "bc"}};
  const std::string message = event_message(headers, "xyz");
  EXPECT_EQ(message.substr(0, 8), std::string("\0\0\0\x1A\0\0\0\x07", 8));
  EXPECT_EQ(message.substr(12, 10), std::string("\1a\7\0\2bcxyz", 10));
  EXPECT_EQ(message.size(), 26u);
}

TEST(EventStream, CutsAPayloadIntoMessagesAndEndsWithWhatCameOfIt) {
  const std::string payload(2 * event_payload_bytes_max + 5, 'x');
  const auto chunks = read_events(lambda_payload_chunks(payload));
  ASSERT_EQ(chunks.size(), 3u);
  EXPECT_EQ(chunks[2].type, "PayloadChunk");
  EXPECT_EQ(chunks[2].payload, "xxxxx");
  const auto good = read_events(lambda_complete("", ""));
  ASSERT_EQ(good.size(), 1u);
  EXPECT_EQ(good[0].type, "InvokeComplete");
  EXPECT_EQ(good[0].payload, "{}");
  const auto bad = read_events(lambda_complete(R"({"errorType":"E"})", "bG9n"));
  EXPECT_EQ(parsed(bad[0].payload).at("ErrorCode"), "Unhandled");
  EXPECT_EQ(parsed(bad[0].payload).at("ErrorDetails"), R"({"errorType":"E"})");
  EXPECT_EQ(parsed(bad[0].payload).at("LogResult"), "bG9n");
}

}  // namespace
}  // namespace dormouse::gateway
