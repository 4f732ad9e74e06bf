#include "runtimes/llm/slots.h"

#include <gtest/gtest.h>

namespace dormouse::llm {
namespace {

using Tokens = std::vector<Token>;

Place placed(const std::vector<Slot>& slots, const Tokens& prompt) {
  const auto where = place(slots, prompt);
  EXPECT_TRUE(where);
  return where.value_or(Place{99, 99, 99});
}

TEST(Slots, TakeTheOneThatWasIdleLongest) {
  const Place where = placed({{{1, 2}, false, 5}, {{3}, false, 2}, {{4}, true, 1}}, {9, 9});
  EXPECT_EQ(where.slot, 1U);
  EXPECT_EQ(where.tokens, 0U);
  EXPECT_EQ(where.source, 1U);
}

TEST(Slots, ContinueAConversation) {
  const Place where = placed({{{}, false, 0}, {{1, 2, 3}, false, 9}}, {1, 2, 3, 4});
  EXPECT_EQ(where.slot, 1U);
  EXPECT_EQ(where.source, 1U);
  EXPECT_EQ(where.tokens, 3U);
}

TEST(Slots, ComputeTheLastTokenAnew) {
  const Place where = placed({{{1, 2, 3}, false, 9}}, {1, 2, 3});
  EXPECT_EQ(where.tokens, 2U);
}

TEST(Slots, ShareABeginningAndKeepTheConversation) {
  // Another question after the same system prompt: what the first one said stays.
  const Place where = placed({{{1, 2, 3, 4, 5, 6, 7, 8}, false, 9}, {{}, false, 0}}, {1, 2, 3, 9});
  EXPECT_EQ(where.slot, 1U);
  EXPECT_EQ(where.source, 0U);
  EXPECT_EQ(where.tokens, 3U);
}

TEST(Slots, ReadABeginningAgainThatFillsARow) {
  EXPECT_EQ(worth_reusing(1, 16), 0U);
  EXPECT_EQ(worth_reusing(1, 256), 0U);
  EXPECT_EQ(worth_reusing(5, 17), 1U);
  EXPECT_EQ(worth_reusing(7, 39), 7U);  // It is full.
}

TEST(Slots, TakeWhatIsKnownOtherwise) {
  EXPECT_EQ(worth_reusing(0, 15), 0U);
  EXPECT_EQ(worth_reusing(3, 8), 3U);   // A row would need more than there is.
  EXPECT_EQ(worth_reusing(7, 8), 7U);   // Said before.
  EXPECT_EQ(worth_reusing(8, 23), 8U);  // A conversation.
  EXPECT_EQ(worth_reusing(40, 55), 40U);
}

TEST(Slots, ShareWithOneThatIsBusy) {
  const Place where = placed({{{1, 2, 3, 4}, true, 9}, {{7}, false, 3}}, {1, 2, 3, 4, 5});
  EXPECT_EQ(where.slot, 1U);
  EXPECT_EQ(where.source, 0U);
  EXPECT_EQ(where.tokens, 4U);
}

TEST(Slots, AreNotThereIfAllAreBusy) {
  EXPECT_FALSE(place(std::vector<Slot>{{{1}, true, 1}}, Tokens{1, 2}));
  EXPECT_FALSE(place(std::vector<Slot>{}, Tokens{1, 2}));
}

TEST(Slots, TakeAnEmptyPrompt) {
  EXPECT_EQ(placed({{{1, 2}, false, 1}}, {}).tokens, 0U);
}

}  // namespace
}  // namespace dormouse::llm
