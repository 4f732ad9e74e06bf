#include "gateway/lambda_client.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "gateway/json.h"
#include "gateway/lambda.h"
#include "http/head.h"
#include "wire/messages.h"

namespace dormouse::gateway {
namespace {

Result<std::string> read(std::string base64_text) {
  http::Fields fields;
  fields.add("x-amz-client-context", base64_text);
  return read_client_context(fields);
}

TEST(ClientContext, IsNothingIfNothingIsSaid) {
  EXPECT_EQ(*read_client_context({}), "");
  EXPECT_EQ(*read(""), "");
}

TEST(ClientContext, HasTheSameValuesInWhatAHeaderCanHave) {
  const struct {
    std::string given, read;
  } rows[] = {
      {"{}", "{}"},
      {R"({"custom":{"n":12345678901234567890123,"x":1.50,"x":2}})",
       R"({"custom":{"n":12345678901234567890123,"x":1.50,"x":2}})"},
      {"{\n\t\"a\": [1,\r\n2]}\n", "{  \"a\": [1,  2]} "},
      {"{\"\xC3\xBC\":\"\xE2\x82\xAC \xF0\x9F\x98\xB4 \x7F\"}",
       R"({"\u00fc":"\u20ac \ud83d\ude34 \u007f"})"},
      {R"({"a":"\n\u0000\\"})", R"({"a":"\n\u0000\\"})"},
  };
  for (const auto& row : rows) {
    const auto context = read(base64(row.given));
    ASSERT_TRUE(context) << row.given;
    EXPECT_EQ(*context, row.read);
    EXPECT_TRUE(http::is_field_value(*context)) << *context;
    EXPECT_EQ(json::parse(*context), json::parse(row.given)) << row.given;
  }
}

TEST(ClientContext, IsRefusedIfItIsNoJsonObjectInBase64) {
  const std::string rows[] = {
      "{}",
      "e30",
      "e3=0",
      "string",
      "====",
      base64("[]"),
      base64("null"),
      base64("{} {}"),
      base64("{\"a\":\"\xFF\"}"),
      base64("{\"a\":\"\\ud800\"}"),
      base64(" "),
      base64(std::string("{}\0", 3)),
      base64("{\"a\":" + std::string(600, '[') + std::string(600, ']') + "}"),
  };
  for (const std::string& row : rows) {
    const auto refused = read(row);
    ASSERT_FALSE(refused) << row;
    EXPECT_EQ(refused.error().message, "Client context must be a valid Base64-encoded JSON object.")
        << row;
  }
}

// 2,685 bytes become 3,580; one character more, 3,584.
TEST(ClientContext, IsAsLongAsAwsHasItAtMost) {
  const auto of_bytes = [](std::size_t bytes, std::string_view character) {
    std::string text = "{\"a\":\"";
    while (text.size() + character.size() + 2 <= bytes) text += character;
    return text + "\"}";
  };
  EXPECT_TRUE(read(base64(of_bytes(2685, "x"))));
  EXPECT_TRUE(read(base64(of_bytes(2685, "\xC3\xBC"))));
  EXPECT_TRUE(read(base64(of_bytes(2685, "\xF0\x9F\x98\xB4"))));
  EXPECT_LE(read(base64(of_bytes(2685, "\xC3\xBC")))->size(), wire::client_context_bytes_max);
  for (const std::string& text : {of_bytes(2688, "x"), of_bytes(2685, "\x7F")}) {
    const auto refused = read(base64(text));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().message, "Client context is longer than 3583 bytes of base64");
  }
}

}  // namespace
}  // namespace dormouse::gateway
