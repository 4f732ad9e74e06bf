#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "cli/delivery.h"
#include "cli/files.h"
#include "cli/typed_line.h"
#include "cli/watcher.h"

namespace dormouse::cli {
namespace {

namespace fs = std::filesystem;
using Asks = TypedLine::Asks;

TEST(TypedLine, IsABodyOrACommand) {
  const auto call = parse_typed(R"(  {"a": 1} )", false);
  ASSERT_TRUE(call);
  EXPECT_EQ(call->asks, Asks::call);
  EXPECT_EQ(call->method, "POST");
  EXPECT_EQ(call->body, R"({"a": 1})");
  EXPECT_EQ(parse_typed("text  a b", false)->body, "a b");
  EXPECT_EQ(parse_typed("@some file.png", false)->file, "some file.png");
  EXPECT_EQ(parse_typed("-1.5", false)->body, "-1.5");
  EXPECT_EQ(parse_typed("", false)->asks, Asks::again);
  EXPECT_EQ(parse_typed(" \r", true)->asks, Asks::again);
  EXPECT_EQ(parse_typed("receipt", false)->asks, Asks::receipt);
  EXPECT_EQ(parse_typed("?", false)->asks, Asks::help);
  EXPECT_EQ(parse_typed("quit", false)->asks, Asks::quit);
}

TEST(TypedLine, OfAnHttpServerIsARequest) {
  const auto get = parse_typed("/a?b=c", true);
  ASSERT_TRUE(get);
  EXPECT_EQ(get->method, "GET");
  EXPECT_EQ(get->path, "/a?b=c");
  const auto put = parse_typed(R"(PUT /x  {"a": [1, 2]})", true);
  ASSERT_TRUE(put);
  EXPECT_EQ(put->method, "PUT");
  EXPECT_EQ(put->path, "/x");
  EXPECT_EQ(put->body, R"({"a": [1, 2]})");
  EXPECT_EQ(parse_typed("POST /x @a.png", true)->file, "a.png");
}

TEST(TypedLine, ThatMeansNothingSaysWhatDoes) {
  const auto message = [](std::string_view line, bool http) {
    const auto typed = parse_typed(line, http);
    return typed ? std::string("taken") : typed.error().message;
  };
  EXPECT_EQ(message("helo", false), "not understood; ? says what can be typed");
  EXPECT_EQ(message("{\"a\": ", false), "this is not JSON; `text …` sends it as it is");
  EXPECT_EQ(message("/x", false), "not understood; ? says what can be typed");
  EXPECT_EQ(message("@", false), "not understood; ? says what can be typed");
  EXPECT_EQ(message("GET x", true), "a path begins with \"/\", as in GET /");
}

class Folder : public testing::Test {
 protected:
  Folder() : path(fs::temp_directory_path() / ("dormouse-dev-test-" + std::to_string(getpid()))) {
    fs::create_directories(path);
  }
  ~Folder() override { fs::remove_all(path); }
  void write(const std::string& name, const std::string& text) const {
    fs::create_directories((path / name).parent_path());
    std::ofstream(path / name, std::ios::binary) << text;
  }
  const fs::path path;
};

using Names = std::set<std::string>;

TEST_F(Folder, IsWatchedWithAllThatIsBelowButForDotNames) {
  write("sub/a", "1");
  write(".git/x", "1");
  const auto watcher = Watcher::watch(path);
  ASSERT_TRUE(watcher) << watcher.error().message;
  EXPECT_EQ((*watcher)->take(), Names{});
  write("b", "2");
  write("sub/a", "2");
  write(".git/x", "2");
  write(".hidden", "2");
  write("__pycache__/b.pyc", "2");
  EXPECT_EQ((*watcher)->take(), (Names{"b", "sub/a"}));
  fs::rename(path / "b", path / "sub/c");
  EXPECT_EQ((*watcher)->take(), (Names{"b", "sub/c"}));
  fs::remove(path / "sub/c");
  EXPECT_EQ((*watcher)->take(), Names{"sub/c"});
}

TEST_F(Folder, ThatIsNewIsWatchedFromThenOn) {
  const auto watcher = Watcher::watch(path);
  ASSERT_TRUE(watcher);
  write("new/deep/a", "1");
  EXPECT_EQ((*watcher)->take(), Names{"new"});
  write("new/deep/a", "2");
  EXPECT_EQ((*watcher)->take(), Names{"new/deep/a"});
}

TEST_F(Folder, OfAFileThatIsWatchedDoesNotCount) {
  write("app.py", "1");
  const auto watcher = Watcher::watch(path / "app.py");
  ASSERT_TRUE(watcher);
  write("other.py", "1");
  write("app.py.tmp", "2");
  fs::rename(path / "app.py.tmp", path / "app.py");
  EXPECT_EQ((*watcher)->take(), Names{"app.py"});
}

TEST_F(Folder, HasOneRealPathWhetherItIsThereYetOrNot) {
  fs::create_directory_symlink(path, path / "link");
  const fs::path wanted = fs::canonical(path) / "new";
  for (const char* said : {"new", "new/", "new/.", "link/new", "x/../new/"}) {
    EXPECT_EQ(real_path(path / said), wanted) << said;
  }
  fs::create_directory(wanted);
  EXPECT_EQ(real_path(path / "link/new/"), wanted);
  EXPECT_EQ(real_path("/"), "/");
  EXPECT_EQ(real_path("nowhere"), fs::current_path() / "nowhere");
}

TEST_F(Folder, StampOfAFileChangesWithItsContent) {
  write("a", "12");
  const LocalFile file{"a", path / "a", 2};
  const std::string before = stamp_of(file);
  EXPECT_FALSE(before.empty());
  EXPECT_EQ(stamp_of(file), before);
  write("b", "34");
  fs::rename(path / "b", path / "a");  // Of the same size.
  EXPECT_NE(stamp_of(file), before);
  EXPECT_EQ(stamp_of({"c", path / "c", 0}), "");
}

}  // namespace
}  // namespace dormouse::cli
