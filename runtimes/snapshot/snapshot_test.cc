#include "runtimes/snapshot/snapshot.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace dormouse::snapshot {
namespace {

namespace fs = std::filesystem;

struct Ran {
  int status = -1;  // Or 128 and the signal's number.
  std::string output;
};

// With descriptors 0, 1, 2 and 3, which stands for the socket.
Ran run_probe(std::vector<std::string> arguments) {
  std::array<int, 2> ends{};
  EXPECT_EQ(pipe(ends.data()), 0);
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], 1);
    dup2(ends[1], 2);
    dup2(ends[1], 3);
    (void)close_range(4, ~0u, 0);
    arguments.insert(arguments.begin(), SNAPSHOT_PROBE);
    std::vector<char*> given;
    for (std::string& each : arguments) given.push_back(each.data());
    given.push_back(nullptr);
    execv(given[0], given.data());
    _exit(127);
  }
  close(ends[1]);
  Ran ran;
  std::array<char, 4096> part;
  for (ssize_t got; (got = read(ends[0], part.data(), part.size())) > 0;) {
    ran.output.append(part.data(), static_cast<std::size_t>(got));
  }
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  ran.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return ran;
}

class SnapshotTest : public testing::Test {
 protected:
  void SetUp() override {
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    GTEST_SKIP() << "a sanitizer's memory cannot be saved";
#endif
    std::string pattern = fs::temp_directory_path() / "snapshot-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    fs::create_directory(folder_ / "code");
    for (const fs::path& each : {mapped(), of_code()}) {
      std::ofstream(each) << std::string(3 * 4096, 'f');
    }
  }
  void TearDown() override {
    if (!folder_.empty()) fs::remove_all(folder_);
  }

  std::string file() const { return folder_ / "snapshot"; }
  fs::path mapped() const { return folder_ / "mapped"; }
  fs::path of_code() const { return folder_ / "code/mapped"; }
  Ran save(const std::string& with = "") const {
    if (with.empty()) return run_probe({"save", file(), "key"});
    return run_probe({"save", file(), "key", with});
  }
  Ran wake(const std::string& key = "key") const { return run_probe({"wake", file(), key}); }

 private:
  fs::path folder_;
};

TEST_F(SnapshotTest, WhatWasSavedIsThereAgainEachTimeThatItIsWoken) {
  const Ran saved = save();
  ASSERT_EQ(saved.status, 0) << saved.output;
  EXPECT_EQ(saved.output, "saved\n");
  for (int i = 0; i < 5; ++i) {
    const Ran woken = wake();
    EXPECT_EQ(woken.status, 0) << woken.output;
    EXPECT_EQ(woken.output.find("BAD"), std::string::npos) << woken.output;
    EXPECT_NE(woken.output.find("signals: good"), std::string::npos) << woken.output;
  }
}

TEST_F(SnapshotTest, WhatIsNothingTakesNoRoom) {
  ASSERT_EQ(save().status, 0);
  EXPECT_LT(fs::file_size(file()), 8u << 20);  // The probe has 64 MiB, most of it zeros.
}

TEST_F(SnapshotTest, NothingIsWokenOfAnotherKey) {
  ASSERT_EQ(save().status, 0);
  const Ran woken = wake("another");
  EXPECT_EQ(woken.status, 2);
  EXPECT_EQ(woken.output, "this node, or a library, is not what the snapshot was made of\n");
}

TEST_F(SnapshotTest, NothingIsWokenWhoseFilesHaveChanged) {
  ASSERT_EQ(save().status, 0);
  const auto says = [](const fs::path& path) {
    return path.string() + " is not what the snapshot was made of\n";
  };
  const auto then = fs::last_write_time(mapped());
  fs::last_write_time(of_code(), then - std::chrono::hours(2));  // Of no importance.
  EXPECT_EQ(wake().status, 0);
  const fs::path away = mapped().string() + ".away";
  fs::rename(mapped(), away);
  EXPECT_EQ(wake().output, says(mapped()));
  fs::copy(away, mapped());  // Another one, and just the same.
  fs::last_write_time(mapped(), then);
  EXPECT_EQ(wake().output, says(mapped()));
  EXPECT_EQ(wake().status, 2);
}

TEST_F(SnapshotTest, NothingIsWokenWhoseOwnFilesHaveAnotherSize) {
  ASSERT_EQ(save().status, 0);
  std::ofstream(of_code(), std::ios::app) << "more";
  EXPECT_EQ(wake().output, of_code().string() + " is not what the snapshot was made of\n");
}

TEST_F(SnapshotTest, WhatCannotBeThereAgainIsNotSaved) {
  struct Case {
    const char *with, *why;
  };
  for (const Case& each : {Case{"thread", "it has 2 threads"}, Case{"descriptor", "eventfd"},
                           Case{"shared", "shares with others"}, Case{"code", "compiled"},
                           Case{"wiped", "no fork is to have"}, Case{"hidden", "cannot read"}}) {
    const Ran saved = save(each.with);
    EXPECT_EQ(saved.status, 1) << each.with;
    EXPECT_NE(saved.output.find(each.why), std::string::npos) << saved.output;
  }
}

TEST_F(SnapshotTest, WhatIsCutOffIsNoSnapshot) {
  ASSERT_EQ(save().status, 0);
  const auto whole = fs::file_size(file());
  for (const std::uintmax_t left :
       {whole - 4096, whole / 2, std::uintmax_t{5000}, std::uintmax_t{100}, std::uintmax_t{0}}) {
    fs::resize_file(file(), left);
    const Ran woken = wake();
    EXPECT_EQ(woken.status, 2) << left;
    EXPECT_EQ(woken.output, "this is no snapshot\n") << left;
  }
}

}  // namespace
}  // namespace dormouse::snapshot
