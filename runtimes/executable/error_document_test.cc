#include "runtimes/executable/error_document.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>

namespace dormouse::executable {
namespace {

namespace json = boost::json;

// What a document says, or "none" if it is no JSON object.
std::string said(const std::string& document, const char* key) {
  boost::system::error_code failure;
  const json::value parsed = json::parse(document, failure);
  if (failure || !parsed.is_object()) return "none";
  const json::value* found = parsed.get_object().if_contains(key);
  return found == nullptr ? "" : json::value_to<std::string>(*found);
}

TEST(ErrorDocument, IsHandedOnAsItIs) {
  const auto failure =
      failure_of(R"({"errorType":"ValueError","errorMessage":"no","stackTrace":["a",1.5]})", "");
  EXPECT_EQ(failure.message, "ValueError: no");
  EXPECT_EQ(failure.document,
            R"({"errorType":"ValueError","errorMessage":"no","stackTrace":["a",1.5E0]})");
}

TEST(ErrorDocument, TakesItsTypeFromTheHeaderIfItNamesNone) {
  const auto failure = failure_of("out of luck\n", "Luck\xff");
  EXPECT_EQ(failure.message, "Luck?: out of luck?");
  EXPECT_EQ(said(failure.document, "errorType"), "Luck?");
}

TEST(ErrorDocument, IsJsonWhateverNumbersAFunctionSays) {
  for (const char* number : {"1e999", "-1e999", "0e434", "1.7976931348623159e308"}) {
    const auto failure =
        failure_of(R"({"errorType":"ValueError","errorMessage":"no","loss":[{"last":)" +
                       std::string(number) + "}]}",
                   "");
    EXPECT_EQ(failure.message, "ValueError: no");
    EXPECT_EQ(said(failure.document, "errorType"), "ValueError") << failure.document;
    EXPECT_EQ(said(failure.document, "errorMessage"), "no") << failure.document;
  }
}

TEST(ErrorDocument, IsJsonWhateverTypeAndMessageAre) {
  const auto failure = failure_of(R"({"errorType":[1],"errorMessage":1e999})", "");
  EXPECT_EQ(said(failure.document, "errorType"), "[1]") << failure.document;
  EXPECT_TRUE(failure.message.starts_with("[1]: ")) << failure.message;
  const auto none = failure_of(R"([1e999])", "Luck");
  EXPECT_EQ(none.document, R"({"errorType":"Luck"})");
}

TEST(ErrorDocument, IsItsTypeIfItIsTooLong) {
  for (const char* more : {"1", "1e999"}) {
    const std::string message(wire::document_bytes_max, 'x');
    const auto failure = failure_of(
        R"({"errorType":"Long","errorMessage":")" + message + R"(","more":)" + more + "}", "");
    EXPECT_EQ(failure.document, R"({"errorType":"Long"})");
    EXPECT_EQ(failure.message, "Long: " + message);
  }
}

TEST(ErrorDocument, NeverEndsWithinACharacter) {
  std::string type = "a";
  while (type.size() <= wire::document_bytes_max) type += "é";
  const auto failure = failure_of(R"({"errorType":")" + type + R"("})", "");
  EXPECT_EQ(said(failure.document, "errorType"), type.substr(0, 255));
}

}  // namespace
}  // namespace dormouse::executable
