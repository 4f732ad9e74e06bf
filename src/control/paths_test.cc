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

}  // namespace
}  // namespace dormouse::control
