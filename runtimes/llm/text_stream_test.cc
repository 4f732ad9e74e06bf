#include "runtimes/llm/text_stream.h"

#include <gtest/gtest.h>

namespace dormouse::llm {
namespace {

TEST(TextStream, HandsOnWhatComes) {
  TextStream text({});
  EXPECT_EQ(text.add("Hello"), "Hello");
  EXPECT_EQ(text.add(", world"), ", world");
  EXPECT_EQ(text.rest(), "");
}

TEST(TextStream, KeepsCharactersWhole) {
  TextStream text({});
  const std::string mouse = "\xF0\x9F\x90\xAD";
  EXPECT_EQ(text.add("a" + mouse.substr(0, 1)), "a");
  EXPECT_EQ(text.add(mouse.substr(1, 2)), "");
  EXPECT_EQ(text.add(mouse.substr(3) + "b"), mouse + "b");
}

TEST(TextStream, ReplacesWhatIsNoUtf8) {
  TextStream text({});
  EXPECT_EQ(text.add("a\xFF"
                     "b"),
            "a\xEF\xBF\xBD"
            "b");
  EXPECT_EQ(text.add("\xE2\x82"), "");
  EXPECT_EQ(text.rest(), "\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(text.add("\x80\x80\x80\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST(TextStream, CutsAtTheFirstStop) {
  TextStream text({"END", "\n\n"});
  EXPECT_EQ(text.add("one\n"), "one");
  EXPECT_EQ(text.add("two E"), "\ntwo ");
  EXPECT_FALSE(text.stopped());
  EXPECT_EQ(text.add("ND three\n\n"), "");
  EXPECT_TRUE(text.stopped());
  EXPECT_EQ(text.rest(), "");
}

TEST(TextStream, HandsOnWhatOnlyLookedLikeAStop) {
  TextStream text({"abcabd"});
  EXPECT_EQ(text.add("abcab"), "");
  EXPECT_EQ(text.add("c"), "abc");
  EXPECT_EQ(text.add("abd!"), "");
  EXPECT_TRUE(text.stopped());
}

TEST(TextStream, GivesWhatIsHeldAtTheEnd) {
  TextStream text({"stop"});
  EXPECT_EQ(text.add("do not sto"), "do not ");
  EXPECT_EQ(text.rest(), "sto");
}

// However it is cut into pieces, the text is the same.
TEST(TextStream, DoesNotDependOnThePieces) {
  const std::string all = "Grüße aus \xF0\x9F\x90\xAD, stost: sto\xC3\xB6p";
  for (std::size_t size = 1; size <= all.size(); ++size) {
    TextStream text({"stop"});
    std::string said;
    for (std::size_t at = 0; at < all.size(); at += size) said += text.add(all.substr(at, size));
    EXPECT_EQ(said + text.rest(), all) << size;
  }
}

}  // namespace
}  // namespace dormouse::llm
