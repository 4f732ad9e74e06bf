#include "conversations/shelf.h"

#include <gtest/gtest.h>

#include "conversations/conversations.h"
#include "conversations/page.h"

namespace dormouse::conversations {
namespace {

Key key(std::string name, std::string function = "f", std::string digest = "d") {
  return {{"default", std::move(function), std::move(digest)}, std::move(name)};
}

std::vector<std::string> names(const std::vector<Key>& keys) {
  std::vector<std::string> all;
  for (const Key& each : keys) all.push_back(each.name);
  return all;
}

TEST(Shelf, LetsTheOldestUsedGoFirst) {
  Shelf shelf(100, 10);
  for (const char* name : {"a", "b", "c"}) shelf.put(key(name), 30, {1});
  shelf.touch(key("a"), {2});
  EXPECT_EQ(names(shelf.make_room(key("d"), 40)), (std::vector<std::string>{"b"}));
  EXPECT_EQ(shelf.bytes(), 60u);
  EXPECT_EQ(names(shelf.make_room(key("d"), 100)), (std::vector<std::string>{"c", "a"}));
  EXPECT_EQ(shelf.bytes(), 0u);
  EXPECT_TRUE(shelf.make_room(key("d"), 1'000).empty());  // There is no more that could go.
}

TEST(Shelf, BoundsHowManyThereAre) {
  Shelf shelf(100, 2);
  shelf.put(key("a"), 1, {1});
  shelf.put(key("b"), 1, {1});
  EXPECT_EQ(names(shelf.make_room(key("c"), 1)), (std::vector<std::string>{"a"}));
}

TEST(Shelf, CountsWhatIsInTheSamePlaceOnce) {
  Shelf shelf(100, 10);
  shelf.put(key("a"), 30, {1});
  shelf.put(key("a"), 50, {2});
  EXPECT_EQ(shelf.bytes(), 50u);
  EXPECT_EQ(shelf.count(), 1u);
  EXPECT_TRUE(shelf.erase(key("a")));
  EXPECT_FALSE(shelf.erase(key("a")));
  EXPECT_EQ(shelf.bytes(), 0u);
}

TEST(Shelf, LetsNobodyGoForWhatHasRoomInItsOwnPlace) {
  Shelf shelf(100, 2);
  shelf.put(key("a"), 30, {1});
  shelf.put(key("b"), 60, {1});
  EXPECT_TRUE(shelf.make_room(key("b"), 70).empty());
  shelf.put(key("b"), 70, {2});
  EXPECT_EQ(names(shelf.make_room(key("b"), 71)), (std::vector<std::string>{"a"}));
}

TEST(Shelf, TellsFunctionsApart) {
  Shelf shelf(100, 10);
  shelf.put(key("a", "f", "1"), 1, {1});
  shelf.put(key("a", "f", "2"), 1, {1});
  shelf.put(key("a", "ff", "1"), 1, {1});
  EXPECT_EQ(shelf.of("default", "f").size(), 2u);
  EXPECT_EQ(shelf.of("default", "ff").size(), 1u);
  EXPECT_EQ(shelf.of("other", "f").size(), 0u);
}

TEST(Place, IsOfOneKeyOnlyAndReadsBack) {
  for (const std::string& name : {std::string("a"), std::string("../../etc/passwd"),
                                  std::string("a b"), std::string(name_bytes_max, '~')}) {
    const auto file = place_of(key(name)).filename().string();
    EXPECT_LE(file.size(), 255u);
    EXPECT_EQ(file.find_first_of("./"), file.npos);
    EXPECT_EQ(name_of_file(file), name);
  }
  for (const char* none : {"a.new", "A", "AB", "Q=="}) {
    const auto name = name_of_file(none);
    EXPECT_TRUE(!name || !is_name(*name)) << none;
  }
}

TEST(Name, IsPrintableAsciiOfBoundedLength) {
  EXPECT_TRUE(is_name("c"));
  EXPECT_TRUE(is_name(std::string(128, 'c')));
  EXPECT_FALSE(is_name(""));
  EXPECT_FALSE(is_name(std::string(129, 'c')));
  EXPECT_FALSE(is_name("a\n"));
  EXPECT_FALSE(is_name("é"));
}

}  // namespace
}  // namespace dormouse::conversations
