#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <cmath>
#include <set>

#include "base/utf8.h"
#include "gateway/errors.h"
#include "gateway/json.h"
#include "gateway/keys.h"

namespace dormouse::gateway {
namespace {

std::string repeat(std::string_view text, std::size_t times) {
  std::string all;
  for (std::size_t i = 0; i < times; ++i) all += text;
  return all;
}

TEST(HttpStatus, IsAnErrorForEveryCode) {
  for (const Code code : every_code) EXPECT_GE(http_status(code), 400) << name(code);
  EXPECT_EQ(http_status(Code::throttled), 429);
  EXPECT_EQ(http_status(Code::overloaded), 503);
  EXPECT_EQ(http_status(Code::deadline_exceeded), 504);
  EXPECT_EQ(http_status(Code::function_failed), 502);
}

TEST(ErrorResponse, SaysWhatWhoseFaultAndWhichInvocation) {
  const auto response = error_response({Code::function_failed, "exit \xff"}, "018f");
  EXPECT_EQ(response.status, 502);
  EXPECT_EQ(std::get<http::Body>(response.body).text(),
            R"({"error":{"code":"function_failed","message":"exit )"
            "\xEF\xBF\xBD"
            R"(","blame":"function","invocation":"018f"}})"
            "\n");
  EXPECT_FALSE(response.fields.find("Retry-After"));
}

TEST(ErrorResponse, SaysWhenToComeBackInWholeSecondsAtLeastOne) {
  using namespace std::chrono_literals;
  EXPECT_EQ(error_response({Code::throttled, ""}, "", 1200ms).fields.find("Retry-After"), "2");
  EXPECT_EQ(error_response({Code::overloaded, ""}).fields.find("Retry-After"), "1");
  EXPECT_EQ(error_response({Code::function_failed, ""}, "", 3s).fields.find("Retry-After"), "3");
  EXPECT_EQ(error_response({Code::unavailable, ""}).fields.find("Retry-After"), "1");
}

TEST(ErrorResponse, SaysHowManyBytesAFunctionTakes) {
  const Error refused = too_long("greet", 1024);
  EXPECT_EQ(http_status(refused.code), 413);
  EXPECT_EQ(
      refused.message,
      "the body has more than the 1024 bytes that \"greet\" takes; `max_body` in its manifest "
      "sets that");
}

TEST(ParseJson, RefusesWhatIsHostile) {
  const struct {
    const char* why;
    std::string text;
  } rows[] = {
      {"empty", ""},
      {"two values", "{} {}"},
      {"cut", "{\"a\":"},
      {"deep arrays", repeat("[", 1'000'000)},
      {"deep objects", repeat("{\"a\":", 1'000'000)},
      {"one level too deep", repeat("[", 33) + repeat("]", 33)},
      {"a key twice", R"({"a":1,"a":2})"},
      {"a key twice, once escaped", R"({"a":1,"\u0061":2})"},
      {"a key twice, deeper", R"({"b":{"a":1},"c":[{"a":1,"a":2}]})"},
      {"a number of 100,000 digits", repeat("1", 100'000)},
      {"a fraction of 100,000 digits", "0." + repeat("1", 100'000)},
      {"bad UTF-8", "\"\xff\xfe\""},
      {"a surrogate in UTF-8", "\"\xed\xa0\x80\""},
      {"half a surrogate pair", R"("\ud800")"},
      {"a raw control character", "\"\x01\""},
      {"a comment", "/* */ {}"},
      {"a trailing comma", "[1,]"},
      {"NaN", "NaN"},
      {"a number that no double holds", "[40e434]"},
      {"the same below zero", "[-1.7976931348623159e308]"},
      {"too many values", "[" + repeat("1,", 200'000) + "1]"},
  };
  for (const auto& row : rows) {
    const auto value = parse_json(row.text);
    ASSERT_FALSE(value) << row.why;
    EXPECT_EQ(value.error().code, Code::invalid_argument) << row.why;
  }
}

TEST(ParseJson, RefusesAMillionKeys) {
  std::string text = "{";
  for (int i = 0; i < 1'000'000; ++i) text += "\"" + std::to_string(i) + "\":1,";
  EXPECT_FALSE(parse_json(text + "\"x\":1}"));
}

TEST(ParseJson, ReadsTheRest) {
  const auto value = parse_json(R"({"a":{"a":[1,2.5,-3,true,null,"x\n"]},"b":{"a":1}})");
  ASSERT_TRUE(value) << value.error().message;
  EXPECT_EQ(value->at("a").at("a").as_array().size(), 6u);
  EXPECT_EQ(value->at("b").at("a").as_int64(), 1);
  EXPECT_TRUE(parse_json(repeat("[", 32) + repeat("]", 32)));
}

TEST(ParseJson, ReadsTheNearestNumberAndNeverNaN) {
  const auto value = parse_json(
      "[0e434, -0e434, 0.0e99999, 1e-400, 123456789012345678901234567890e-20, "
      "2.2250738585072011e-308, 9007199254740993.0, 1e23]");
  ASSERT_TRUE(value) << value.error().message;
  const double expected[] = {
      0, -0.0, 0, 0, 1234567890.1234567, 2.2250738585072011e-308, 9007199254740992, 1e23};
  const auto& read = value->as_array();
  ASSERT_EQ(read.size(), std::size(expected));
  for (std::size_t i = 0; i < read.size(); ++i) {
    EXPECT_EQ(read[i].as_double(), expected[i]) << i;
    EXPECT_EQ(std::signbit(read[i].as_double()), std::signbit(expected[i])) << i;
  }
}

TEST(ValidUtf8, KeepsWhatIsAndReplacesWhatIsNot) {
  EXPECT_EQ(valid_utf8("caf\xc3\xa9 \xf0\x9f\x98\xb4"), "caf\xc3\xa9 \xf0\x9f\x98\xb4");
  EXPECT_EQ(valid_utf8("\xc0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(valid_utf8("a\xe2\x82"), "a\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(valid_utf8(std::string_view("a\0b", 3)), std::string_view("a\0b", 3));
}

TEST(Keys, AcceptTheirOwnKeyInBothFieldsAndNoOther) {
  const FreshKey fresh = make_key({1, 2, 3});
  const auto keys = Keys::parse("# mine\n\n" + fresh.line + "\r\n");
  ASSERT_TRUE(keys) << keys.error().message;
  const struct {
    const char* field;
    std::string value;
    bool accepted;
  } rows[] = {
      {"Authorization", "Bearer " + fresh.key, true},
      {"X-API-Key", fresh.key, true},
      {"Authorization", fresh.key, false},
      {"Authorization", "Basic " + fresh.key, false},
      {"Authorization", "Bearer " + fresh.key + "x", false},
      {"Authorization", "Bearer ", false},
      {"x-api-key", fresh.line, false},  // The hash itself is not a key.
      {"Cookie", fresh.key, false},
  };
  for (const auto& row : rows) {
    http::Fields fields;
    fields.add(row.field, row.value);
    EXPECT_EQ(keys->accept(fields), row.accepted) << row.field << ": " << row.value;
  }
  EXPECT_FALSE(keys->accept({}));
}

TEST(Keys, TellAWrongKeyFromNone) {
  const std::string needed = "a key is needed: Authorization: Bearer KEY, or x-api-key: KEY";
  const std::string wrong =
      "this key is not accepted; a good one is sent as Authorization: Bearer KEY, or "
      "x-api-key: KEY";
  const struct {
    std::string field, value, said;
  } rows[] = {
      {"User-Agent", "curl", needed},         {"Authorization", "", needed},
      {"Authorization", "Bearer", needed},    {"x-api-key", "", needed},
      {"x-api-key", "dm_wrong", wrong},       {"authorization", "Bearer x", wrong},
      {"Authorization", "Basic eDp5", wrong},
  };
  for (const auto& row : rows) {
    http::Fields fields;
    fields.add(row.field, row.value);
    const Error refused = Keys::refusal(fields);
    EXPECT_EQ(refused.code, Code::unauthorized) << row.field << ": " << row.value;
    EXPECT_EQ(refused.message, row.said) << row.field << ": " << row.value;
  }
}

TEST(Keys, RefuseAFileThatHoldsAKeyInTheClear) {
  EXPECT_FALSE(Keys::parse(make_key({1}).key + "\n"));
  EXPECT_FALSE(Keys::parse(""));
  EXPECT_FALSE(Keys::parse("# none\n"));
}

TEST(MakeKey, UsesEveryBit) {
  std::set<std::string> keys;
  for (std::size_t bit = 0; bit < 256; ++bit) {
    std::array<std::uint8_t, 32> random{};
    random[bit / 8] = static_cast<std::uint8_t>(1u << bit % 8);
    keys.insert(make_key(random).key);
  }
  EXPECT_EQ(keys.size(), 256u);
}

}  // namespace
}  // namespace dormouse::gateway
