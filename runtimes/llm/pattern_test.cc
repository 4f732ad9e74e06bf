#include "runtimes/llm/pattern.h"

#include <gtest/gtest.h>

#include <string>

namespace dormouse::llm {
namespace {

std::string followed(std::string_view pattern) {
  return followed_pattern(pattern).value_or("refused");
}

TEST(Pattern, IsOneThatAGrammarFollows) {
  for (const char* good : {"^$", "^a$", "^(a|b)+c?$", "^a{3}b{1,}c{0,2}$", "^\\.[A-Z][a-z]*$",
                           "^(?:ab){2}$", "^\xC3\xA9\xF0\x9F\x98\x80$"}) {
    EXPECT_EQ(followed(good), good);
  }
  for (const char* bad :
       {"",        "a",     "^a",   "a$",      "^a{5,2}$",  "^a{2001}$", "^a{99999999999}$",
        "^a{,2}$", "^{2}$", "^*a$", "^a**$",   "^a{2}{3}$", "^\\d$",     "^[\\d]$",
        "^(a$",    "^a)$",  "^[a$", "^(?=a)$", "^a^b$",     "^a\\$",     "^[z-a]$"}) {
    EXPECT_FALSE(followed_pattern(bad)) << bad;
  }
  EXPECT_FALSE(followed_pattern("^" + std::string(1000, 'a') + "$"));
}

TEST(Pattern, MatchesNothingThatStandsInJsonOnlyEscaped) {
  const std::string never = "\\U00000000-\\U0000001F\\U00000022\\U0000005C\\U0000D800-\\U0000DFFF";
  EXPECT_EQ(followed("^.{1,2000}$"), "^[^" + never + "]{1,2000}$");
  EXPECT_EQ(followed("^[^@x]$"), "^[^\\U00000040x" + never + "]$");
  EXPECT_EQ(followed("^[ -~]$"),
            "^[\\U00000020-\\U00000021\\U00000023-\\U0000005B\\U0000005D-\\U0000007E]$");
  EXPECT_EQ(followed("^[\\t\"a\\]-]$"), "^[a\\U0000005D\\U0000002D]$");
  EXPECT_EQ(followed("^\\x41\\u00e9\\U0001F600$"), "^[A][\\U000000E9][\\U0001F600]$");
  for (const char* bad : {"^\"$", "^\\\"$", "^\\\\$", "^\\n$", "^\\x22$", "^a\nb$", "^[\"]$",
                          "^[\\x00-\\x05]$", "^\\ud83d\\ude00$", "^[]$", "^\\UFFFFFFFF$"}) {
    const auto refused = followed_pattern(bad);
    ASSERT_FALSE(refused) << bad;
    EXPECT_FALSE(refused.error().is_left_out) << bad;
  }
}

}  // namespace
}  // namespace dormouse::llm
