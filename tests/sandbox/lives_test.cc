// How sandboxes begin and end, and what is left: S9, S18, S22, and the owner's own death.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <random>

#include "sandbox/cgroup.h"
#include "wire/socket.h"
#include "world.h"

namespace dormouse::sandbox {
namespace {

namespace fs = std::filesystem;

TEST(Ending, IsToldAsItWas) {
  World world;
  const struct {
    std::vector<std::string> words;
    Exit exit;
    int status;
  } rows[] = {{{"exit", "0"}, Exit::returned, 0},
              {{"exit", "7"}, Exit::returned, 7},
              {{"crash"}, Exit::crashed, 128 + SIGSEGV}};
  for (const auto& row : rows) {
    const Report report = world.to_the_end(World::escape(row.words));
    EXPECT_EQ(report.ended.exit, row.exit) << row.words[0];
    EXPECT_EQ(report.ended.status, row.status) << row.words[0];
  }
}

TEST(Starting, WhatCannotRunIsAnErrorAndLeavesNothing) {
  World world;
  Spec spec = World::escape({});
  spec.argv = {"/bin/missing"};
  auto launcher_says = [&](Spec what) {
    const auto clock = async::system_clock();
    const fs::path other = world.state_dir / "other";
    auto launcher = linux_launcher(world.io.get_executor(), clock.get(), {other});
    auto sandbox = run(world.io, (*launcher)->launch(std::move(what)));
    EXPECT_FALSE(sandbox);
    launcher->reset();
    EXPECT_EQ(left_by(other), std::set<std::string>());
    return sandbox ? Error{} : sandbox.error();
  };
  const Error missing = launcher_says(spec);
  EXPECT_EQ(missing.code, Code::unavailable);
  EXPECT_NE(missing.message.find("/bin/missing"), std::string::npos) << missing.message;
  Spec rootless = World::escape({"exit", "0"});
  rootless.root = "/nowhere";
  EXPECT_EQ(launcher_says(rootless).code, Code::invalid_argument);
}

TEST(Starting, ARootWhoseDevIsALinkIsRefusedBeforeAnythingRuns) {
  World world;
  const fs::path outside = world.state_dir / "outside";
  const fs::path root = world.state_dir / "root";
  fs::copy(ESCAPE_ROOT, root, fs::copy_options::recursive);
  fs::create_directory(outside);
  for (const fs::path& target : {outside, fs::path("../outside")}) {
    fs::remove_all(root / "dev");
    fs::create_directory_symlink(target, root / "dev");
    for (const char* runtime : {"runc", "crun"}) {
      const auto clock = async::system_clock();
      auto launcher = linux_launcher(world.io.get_executor(), clock.get(),
                                     {world.state_dir / runtime, runtime});
      ASSERT_TRUE(launcher);
      Spec spec = World::escape({"exit", "0"});
      spec.root = root;
      auto sandbox = run(world.io, (*launcher)->launch(spec));
      ASSERT_FALSE(sandbox);
      EXPECT_EQ(sandbox.error().code, Code::invalid_argument);
      EXPECT_TRUE(fs::is_empty(outside));
    }
  }
}

// Of an OCI runtime that only writes down what it was given.
TEST(Helpers, GetAFixedEnvironmentAndNoDescriptorOfOurs) {
  World world;
  const fs::path state = world.state_dir / "other";
  const std::string self = fs::read_symlink("/proc/self/exe");
  setenv("DORMOUSE_SECRET", "canary", 1);
  const wire::Descriptor careless(open("/etc/passwd", O_RDONLY));
  const auto clock = async::system_clock();
  auto launcher = linux_launcher(world.io.get_executor(), clock.get(), {state, self});
  ASSERT_TRUE(launcher);
  Spec spec = World::escape({"exit", "0"});
  spec.env = {"LD_PRELOAD=/evil.so", "PATH=/evil"};
  EXPECT_FALSE(run(world.io, (*launcher)->launch(spec)));
  std::ifstream in(state / "seen");
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  EXPECT_EQ(lines,
            (std::vector<std::string>{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "0", "1", "2", "3"}));
}

TEST(Binds, AreWritableOnlyIfTheySaySo) {
  World world;
  const fs::path shared = world.state_dir / "shared";
  fs::create_directory(shared);
  for (const bool writable : {true, false}) {
    Spec spec = World::escape({"put", "/out/file"});
    spec.binds = {{shared, "/out", writable}};
    const Report report = world.to_the_end(spec);
    EXPECT_EQ(report.lines_with("ALLOWED put /out/file: 3"), writable ? 1 : 0) << report.output;
    EXPECT_EQ(fs::exists(shared / "file"), writable);
    fs::remove(shared / "file");
  }
}

TEST(Revealing, HappensOnce) {
  World world;
  const auto sandbox = world.launch(World::escape({"stay"}));
  ASSERT_TRUE(sandbox);
  EXPECT_FALSE(run(world.io, sandbox->reveal("/nowhere/at/all")));
  EXPECT_TRUE(run(world.io, sandbox->reveal(ESCAPE_ROOT)));
  EXPECT_FALSE(run(world.io, sandbox->reveal(ESCAPE_ROOT)));
}

TEST(Lives, ManyWithRandomKillsLeaveNothing) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  World world;
  std::vector<std::unique_ptr<Sandbox>> living;
  Duration launches{};
  const int lives = so_many(500, 10'000);
  for (int turn = 0; turn < lives; ++turn) {
    const auto began = std::chrono::steady_clock::now();
    living.push_back(world.launch(World::escape({"stay"})));
    ASSERT_TRUE(living.back());
    launches += std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now() - began);
    if (random() % 2 == 0) EXPECT_TRUE(run(world.io, living.back()->reveal(ESCAPE_ROOT)));
    if (random() % 2 == 0) living[random() % living.size()]->kill();
    if (random() % 4 == 0) shutdown(living.back()->socket(), SHUT_RDWR);
    while (living.size() > random() % 8) living.erase(living.begin() + random() % living.size());
  }
  std::printf("S18: a launch takes %.1f ms here\n", launches.count() / (lives * 1e3));
  living.clear();
}

TEST(Lives, NothingOutlivesAnOwnerThatIsKilled) {
  World world;
  world.end();
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const pid_t owner = fork();
  if (owner == 0) {
    dup2(ends[1], 1);
    execl("/proc/self/exe", "owner", "--own-sandboxes", world.state_dir.c_str(), "16", nullptr);
    _exit(1);
  }
  close(ends[1]);
  char said[8]{};
  EXPECT_GT(read(ends[0], said, sizeof(said) - 1), 0);
  close(ends[0]);
  EXPECT_STREQ(said, "ready\n");
  EXPECT_GE(left_by(world.state_dir).size(), 16U * 3);
  kill(owner, SIGKILL);
  waitpid(owner, nullptr, 0);

  const auto began = std::chrono::steady_clock::now();
  world.begin();
  const auto took = std::chrono::steady_clock::now() - began;
  std::printf("cleaning up after 16 sandboxes took %.0f ms\n",
              std::chrono::duration<double, std::milli>(took).count());
  EXPECT_EQ(left_by(world.state_dir), std::set<std::string>());
}

TEST(Lives, TwoOwnersOfOneFolderAreAConflict) {
  World world;
  const auto clock = async::system_clock();
  const auto second = linux_launcher(world.io.get_executor(), clock.get(), {world.state_dir});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::conflict);
}

// A hybrid host has cgroup v2 without controllers, which is enough to kill by.
TEST(Groups, AreKilledAndRemovedOnV2Too) {
  auto found = find_hierarchies();
  ASSERT_TRUE(found);
  if (found->unified_root.empty()) GTEST_SKIP() << "this host has no cgroup v2";
  const Hierarchies v2{.unified = true, .unified_root = found->unified_root};
  const std::string name = "dormouse-test-" + std::to_string(getpid()) + "/one";
  const fs::path inner = v2.unified_root / name / "oci";
  fs::create_directories(inner);
  std::vector<pid_t> children;
  for (int i = 0; i < 3; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      for (;;) pause();
    }
    children.push_back(child);
    std::ofstream(inner / "cgroup.procs") << child << std::flush;
  }
  EXPECT_EQ(processes_of(v2, name).size(), 3U);
  EXPECT_TRUE(kill_group(v2, name, std::chrono::seconds(10)));
  for (const pid_t child : children) {
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(WTERMSIG(status), SIGKILL);
  }
  EXPECT_TRUE(remove_group(v2, name, std::chrono::seconds(10)));
  EXPECT_FALSE(fs::exists(v2.unified_root / name));
  rmdir((v2.unified_root / name).parent_path().c_str());
}

TEST(Starting, ASmallFunctionStartsToo) {
  World world;
  Limits limits{.memory_bytes_max = 16 << 20, .cpu_millicores_max = 50, .processes_max = 1};
  const Report report = world.to_the_end(World::escape({"exit", "0"}, limits));
  EXPECT_EQ(report.ended.exit, Exit::returned);
  const auto clock = async::system_clock();
  auto launcher = linux_launcher(world.io.get_executor(), clock.get(), {world.state_dir / "other"});
  limits.memory_bytes_max = 1 << 20;
  auto tiny = run(world.io, (*launcher)->launch(World::escape({"exit", "0"}, limits)));
  ASSERT_FALSE(tiny);
  EXPECT_EQ(tiny.error().code, Code::invalid_argument);
}

}  // namespace
}  // namespace dormouse::sandbox
