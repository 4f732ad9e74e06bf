#include "runtimes/llm/pace.h"

#include <gtest/gtest.h>

namespace dormouse::llm {
namespace {

using namespace std::chrono_literals;

TEST(Pace, BeginsCarefully) {
  EXPECT_EQ(Pace(512).tokens(), 64);
  EXPECT_EQ(Pace(10).tokens(), 10);
}

TEST(Pace, ReadsWhatTakesASecond) {
  Pace pace(512);
  pace.took(64, 320ms);
  EXPECT_EQ(pace.tokens(), 200);
  pace.took(200, 2s);
  EXPECT_EQ(pace.tokens(), 100);
  pace.took(100, 10ms);
  EXPECT_EQ(pace.tokens(), 512);
}

TEST(Pace, OfASlowModelIsNotNothing) {
  Pace pace(512);
  pace.took(64, 60s);
  EXPECT_EQ(pace.tokens(), 16);
  Pace small(10);
  small.took(10, 60s);
  EXPECT_EQ(small.tokens(), 10);
}

TEST(Pace, DoesNotLearnFromFewTokens) {
  Pace pace(512);
  pace.took(8, 800ms);
  EXPECT_EQ(pace.tokens(), 64);
  pace.took(64, 0ns);
  EXPECT_EQ(pace.tokens(), 512);
}

}  // namespace
}  // namespace dormouse::llm
