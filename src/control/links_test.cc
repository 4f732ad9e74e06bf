// What symbolic links of a deploy stand for, and which are refused.
#include "control/links.h"

#include <gtest/gtest.h>

namespace dormouse::control {
namespace {

using Files = std::map<std::string, std::string>;

const std::vector<std::string> there = {"app.py", "lib/a.so.1", "lib/deep/b.py", "libs.txt"};

Files of(const std::vector<Link>& links) {
  auto all = followed(links, there, 100);
  EXPECT_TRUE(all) << all.error().message;
  return all ? *all : Files();
}

TEST(Links, StandForTheFileThatTheyLeadTo) {
  EXPECT_EQ(of({}), Files());
  EXPECT_EQ(of({{"main.py", "app.py"}}), (Files{{"main.py", "app.py"}}));
  EXPECT_EQ(of({{"lib/a.so", "a.so.1"}}), (Files{{"lib/a.so", "lib/a.so.1"}}));
  EXPECT_EQ(of({{"lib/deep/main.py", "../.././/app.py"}}), (Files{{"lib/deep/main.py", "app.py"}}));
}

TEST(Links, StandForAllFilesOfAFolder) {
  EXPECT_EQ(of({{"lib64", "lib/"}}),
            (Files{{"lib64/a.so.1", "lib/a.so.1"}, {"lib64/deep/b.py", "lib/deep/b.py"}}));
  EXPECT_EQ(of({{"x/y", "../lib/deep"}}), (Files{{"x/y/b.py", "lib/deep/b.py"}}));
}

TEST(Links, LeadToOthers) {
  EXPECT_EQ(of({{"1", "2"}, {"2", "3"}, {"3", "app.py"}}),
            (Files{{"1", "app.py"}, {"2", "app.py"}, {"3", "app.py"}}));
  EXPECT_EQ(of({{"lib/a.so", "a.so.1"}, {"lib64", "lib"}}),
            (Files{{"lib/a.so", "lib/a.so.1"},
                   {"lib64/a.so", "lib/a.so.1"},
                   {"lib64/a.so.1", "lib/a.so.1"},
                   {"lib64/deep/b.py", "lib/deep/b.py"}}));
  EXPECT_EQ(of({{"b.py", "z/b.py"}, {"z", "lib/deep"}}),
            (Files{{"b.py", "lib/deep/b.py"}, {"z/b.py", "lib/deep/b.py"}}));
}

TEST(Links, AreRefusedThatLeadElsewhere) {
  const std::vector<std::vector<Link>> rows = {
      {{"x", "/etc/passwd"}},
      {{"x", "../app.py"}},
      {{"lib/x", "../../app.py"}},
      {{"x", ""}},
      {{"x", "nothing"}},
      {{"x", "li"}},
      {{"x", "app.py/y"}},
      {{"x", "lib/deep/.."}},  // Where that leads depends on what lib/deep is.
      {{"x", "x"}},
      {{"x", "."}},
      {{"lib/x", ".."}},
      {{"lib/deep/x", ".."}},
      {{"x", "y"}, {"y", "x"}},
      {{"lib/y", "../x"}, {"x", "lib"}},
  };
  for (const auto& links : rows) {
    const auto refused = followed(links, there, 100);
    ASSERT_FALSE(refused) << links.front().target;
    EXPECT_EQ(refused.error().code, Code::invalid_argument);
    const std::string& says = refused.error().message;
    EXPECT_TRUE(says.starts_with("\"" + links.front().path + "\": is a symbolic link to \""))
        << says;
  }
}

// Each stands for all that the one before it does, twice.
TEST(Links, DoNotMultiplyWithoutEnd) {
  for (const int step : {1, -1}) {  // In the order in which they are looked at, and against it.
    std::vector<Link> links;
    for (int i = 50; i != 50 + 40 * step; i += step) {
      const std::string folder = "f" + std::to_string(i + step), next = "f" + std::to_string(i);
      for (const char* name : {"/a", "/b"}) links.push_back({folder + name, "../" + next});
    }
    const auto refused = followed(links, {"f50/file"}, 1000);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::too_large);
  }
}

TEST(Links, AreFollowedThroughFortyOthersAndNoMore) {
  for (const bool ascending : {true, false}) {
    std::vector<Link> links;
    for (int i = 0; i < 40; ++i) {
      const int from = ascending ? i : 40 - i, to = ascending ? i + 1 : 39 - i;
      links.push_back({"l" + std::to_string(100 + from), "l" + std::to_string(100 + to)});
    }
    links.push_back({ascending ? "l140" : "l100", "app.py"});
    EXPECT_FALSE(followed(links, there, 1000));
    links.erase(links.begin());
    EXPECT_TRUE(followed(links, there, 1000));
  }
}

TEST(Links, AreCountedWithTheFoldersThatTheyNeed) {
  const std::vector<Link> link = {{"x/y/z", "../../lib/deep"}};
  EXPECT_TRUE(followed(link, there, 4));  // x, x/y, x/y/z and the file in it.
  EXPECT_FALSE(followed(link, there, 3));
}

}  // namespace
}  // namespace dormouse::control
