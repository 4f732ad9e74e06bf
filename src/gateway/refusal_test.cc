// What the HTTP server refuses by itself, as each dialect says it.
#include "gateway/refusal.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "gateway/errors.h"
#include "gateway/json.h"
#include "http/target.h"

namespace dormouse::gateway {
namespace {

json::value body_of(const http::Response& response) {
  EXPECT_EQ(response.fields.find("Content-Type"), "application/json");
  auto body = parse_json(std::get<http::Body>(response.body).text());
  EXPECT_TRUE(body) << std::get<http::Body>(response.body).text();
  return body ? *std::move(body) : json::value();
}

TEST(Refusal, IsInOpenAisFormBeneathV1) {
  struct {
    int status;
    const char* message;
    const char *type, *code;
  } rows[] = {
      {400, "a header twice that may be there once", "invalid_request_error", "invalid_value"},
      {400, "a '%' without two hexadecimal digits", "invalid_request_error", "invalid_value"},
      {400, "a header name with '_': use '-'", "invalid_request_error", "invalid_value"},
      {408, "a body that comes too slowly", "invalid_request_error", "timeout"},
      {413, "a body that is too long: at most 10 bytes", "invalid_request_error",
       "request_too_large"},
      {414, "a target that is too long", "invalid_request_error", "request_too_large"},
      {415, "a Content-Encoding: bodies are not decoded here", "invalid_request_error",
       "unsupported_encoding"},
      {417, "an Expect other than 100-continue", "invalid_request_error", "invalid_value"},
      {431, "a head that is too long", "invalid_request_error", "request_too_large"},
      {500, "a response that cannot be sent", "server_error", "server_error"},
      {501, "a method that is not known here", "invalid_request_error", "invalid_value"},
      {503, "as many bytes as it may", "server_error", "service_unavailable"},
      {505, "a version of HTTP", "invalid_request_error", "invalid_value"},
  };
  for (const auto& row : rows) {
    const auto response = refusal_response(row.status, row.message, "/v1/chat/completions");
    EXPECT_EQ(response.status, row.status);
    EXPECT_EQ(body_of(response), (json::object{{"error",
                                                {{"message", row.message},
                                                 {"type", row.type},
                                                 {"param", nullptr},
                                                 {"code", row.code}}}}))
        << row.status;
    EXPECT_EQ(response.fields.find("Retry-After").has_value(), row.status == 503);
  }
}

TEST(Refusal, OfAModelsNameWithASlashIsThatThereIsNone) {
  const auto code_at = [](std::string_view path, std::string_view message) {
    const auto response = refusal_response(400, message, path);
    return std::to_string(response.status) + " " +
           std::string(body_of(response).at("error").at("code").as_string());
  };
  EXPECT_EQ(code_at("/v1/models/meta-llama%2FLlama-3", http::encoded_slash), "404 model_not_found");
  EXPECT_EQ(code_at("/v1/models/%2Fa.gguf", http::encoded_slash), "404 model_not_found");
  EXPECT_EQ(code_at("/v1/models/a%2Fb", "a header twice that may be there once"),
            "400 invalid_value");
  EXPECT_EQ(code_at("/v1/models/.%2fa.gguf", http::dot_segment), "404 model_not_found");
  EXPECT_EQ(code_at("/v1/models/..", http::dot_segment), "400 invalid_value");
  EXPECT_EQ(code_at("/v1/chat%2Fcompletions", http::encoded_slash), "400 invalid_value");
  EXPECT_EQ(code_at("/v1%2Fmodels/a", http::encoded_slash), "400 invalid_argument");
  EXPECT_EQ(code_at("/f/a%2Fb", http::encoded_slash), "400 invalid_argument");
}

TEST(Refusal, IsInTheFormOfTheOtherDialectsOrTheCommonOne) {
  const std::string why = "a body that is too long: at most 10 bytes";
  const auto kserve = refusal_response(413, why, "/v2/models/m/infer");
  EXPECT_EQ(kserve.status, 413);
  EXPECT_EQ(body_of(kserve), (json::object{{"error", why}}));

  const auto lambda = refusal_response(413, why, "/2015-03-31/functions/f/invocations");
  EXPECT_EQ(lambda.status, 413);
  EXPECT_EQ(lambda.fields.find("x-amzn-ErrorType"), "RequestTooLargeException");
  EXPECT_EQ(body_of(lambda).at("message").as_string(), why);
  const auto slow = refusal_response(408, "slow", "/2015-03-31/functions/f/invocations");
  EXPECT_EQ(slow.status, 408);
  EXPECT_EQ(slow.fields.find("x-amzn-ErrorType"), "InvalidParameterValueException");

  for (const char* path : {"", "/", "/f/a", "/api/v1/functions", "/v10/models"}) {
    const auto common = refusal_response(413, why, path);
    EXPECT_EQ(common.status, 413);
    EXPECT_EQ(
        body_of(common),
        (json::object{{"error", {{"code", "too_large"}, {"message", why}, {"blame", "caller"}}}}))
        << path;
  }
}

}  // namespace
}  // namespace dormouse::gateway
