// What is put aside of sequences, and found again.
#include "runtimes/llm/aside.h"

#include <gtest/gtest.h>

namespace dormouse::llm {
namespace {

using Tokens = std::vector<Token>;

// Of so many bytes, each of which is their number.
void put(Aside& aside, Tokens tokens, std::size_t size) {
  auto state = std::make_shared<std::byte[]>(size, static_cast<std::byte>(size));
  aside.make_room(tokens, size);
  aside.put(std::move(tokens), std::move(state), size);
}

TEST(Aside, FindsWhatAPromptBeginsWithMostOf) {
  Aside aside(100);
  put(aside, {1, 2, 3}, 10);
  put(aside, {1, 2, 7, 8, 9}, 20);
  const auto found = aside.find(Tokens{1, 2, 7, 8, 5, 5}, 0);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->tokens, (Tokens{1, 2, 7, 8, 9}));
  EXPECT_EQ(found->computed, 5U);
  EXPECT_EQ(found->state.size(), 20U);
  EXPECT_EQ(found->state.front(), std::byte{20});
  EXPECT_FALSE(aside.find(Tokens{2, 2}, 0));
  EXPECT_FALSE(aside.find(Tokens{1, 2, 7, 8, 5, 5}, 4));  // It is known already.
}

TEST(Aside, IsNotAskedForALittleOfMuch) {
  Aside aside(100);
  put(aside, Tokens(1000, 1), 10);
  Tokens prompt(10, 1);
  prompt.resize(2000, 2);
  EXPECT_FALSE(aside.find(prompt, 0));
  EXPECT_TRUE(aside.find(Tokens(100, 1), 0));
}

TEST(Aside, KeepsOneOfWhatContinuesItself) {
  Aside aside(100);
  put(aside, {1, 2}, 60);
  put(aside, {1, 2, 3}, 90);  // Would not have room beside it.
  EXPECT_TRUE(aside.holds(Tokens{1, 2, 3}));
  EXPECT_TRUE(aside.holds(Tokens{1, 2}));
  EXPECT_FALSE(aside.holds(Tokens{1, 2, 3, 4}));
  EXPECT_FALSE(aside.holds(Tokens{1, 3}));
}

TEST(Aside, LetsGoOfWhatWasUsedLongestAgo) {
  Aside aside(100);
  put(aside, {1, 1}, 40);
  put(aside, {2, 2}, 40);
  const auto used = aside.find(Tokens{1, 1, 1}, 0);
  put(aside, {3, 3}, 40);
  EXPECT_TRUE(aside.holds(Tokens{1, 1}));
  EXPECT_FALSE(aside.holds(Tokens{2, 2}));
  put(aside, {4, 4}, 100);
  EXPECT_FALSE(aside.holds(Tokens{1, 1}));
  EXPECT_EQ(used->state.back(), std::byte{40});  // Whoever brings it back has it as long.
}

TEST(Aside, HoldsNothingWithoutRoom) {
  EXPECT_FALSE(Aside(0).may_hold(0));
  EXPECT_FALSE(Aside(0).may_hold(1));
  EXPECT_FALSE(Aside(100).may_hold(101));
  EXPECT_TRUE(Aside(100).may_hold(100));
}

}  // namespace
}  // namespace dormouse::llm
