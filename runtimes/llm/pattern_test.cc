#include "runtimes/llm/pattern.h"

#include <gtest/gtest.h>

#include <string>

namespace dormouse::llm {
namespace {

TEST(Pattern, IsOneThatAGrammarFollows) {
  for (const char* good : {"^$", "^a$", "^[A-Z][a-z\\]]*$", "^(a|b)+c?$", "^a{3}b{1,}c{0,2}$",
                           "^\\.\\x41\\u0041$", "^(?:ab){2}$", "^.{1,2000}$"}) {
    EXPECT_FALSE(problem_of(good)) << good;
  }
  for (const char* bad :
       {"",        "a",     "^a",   "a$",      "^a{5,2}$",  "^a{2001}$", "^a{99999999999}$",
        "^a{,2}$", "^{2}$", "^*a$", "^a**$",   "^a{2}{3}$", "^\\d$",     "^[\\d]$",
        "^(a$",    "^a)$",  "^[a$", "^(?=a)$", "^a^b$",     "^a\\$"}) {
    EXPECT_TRUE(problem_of(bad)) << bad;
  }
  EXPECT_TRUE(problem_of("^" + std::string(1000, 'a') + "$"));
}

}  // namespace
}  // namespace dormouse::llm
