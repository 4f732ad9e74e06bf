#include "control/paths.h"

#include <gtest/gtest.h>

#include <string>

namespace dormouse::control {
namespace {

TEST(Paths, AreRelativeAndPlain) {
  const std::string long_element(255, 'a'), longer(256, 'a');
  for (const std::string& path :
       {std::string("a"), std::string("weights/a.bin"), std::string(".hidden"),
        std::string("a..b/c"), std::string(".dormouse.txt"), std::string("caf\xc3\xa9.txt"),
        long_element + "/" + long_element}) {
    EXPECT_TRUE(check_path(path)) << path;
  }
  for (const std::string& path :
       {std::string(""), std::string("/a"), std::string("a/"), std::string("a//b"),
        std::string("."), std::string(".."), std::string("a/../b"), std::string("./a"),
        std::string("a\\b"), std::string("a\nb"), std::string("a\0b", 3), std::string("\xff"),
        std::string("\x7f"), std::string(".dormouse/x"), std::string(".dormouse"), longer,
        long_element + "/" + long_element + "/" + long_element + "/" + long_element + "/b"}) {
    EXPECT_FALSE(check_path(path)) << path;
  }
}

TEST(Paths, AreQuotedInErrorsAsFarAsOneReads) {
  const std::string hundred(100, 'a');
  EXPECT_EQ(in_quotes(""), "\"\"");
  EXPECT_EQ(in_quotes("a/b"), "\"a/b\"");
  EXPECT_EQ(in_quotes("a\xff"), "\"a\xEF\xBF\xBD\"");
  EXPECT_EQ(in_quotes(hundred), "\"" + hundred + "\"");
  EXPECT_EQ(in_quotes(hundred + "b"), "\"" + hundred + "…\"");
  // Not in the middle of a character.
  const std::string fewer(99, 'a');
  EXPECT_EQ(in_quotes(fewer + "\xc3\xa9"), "\"" + fewer + "…\"");
  EXPECT_EQ(in_quotes(fewer + "\xff\xff"), "\"" + fewer + "\xEF\xBF\xBD…\"");
  EXPECT_EQ(check_path(hundred + hundred + hundred).error().message,
            "the path \"" + hundred + "…\" has an element over 255 bytes");
}

}  // namespace
}  // namespace dormouse::control
