#include "sandbox/sandbox.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <chrono>
#include <cstdio>
#include <fstream>

#include "sandbox/bundle.h"
#include "sandbox/cgroup.h"
#include "sandbox/devices.h"
#include "sandbox/estate.h"
#include "sandbox/fake_launcher.h"
#include "sandbox/lock.h"
#include "sandbox/memory_search.h"
#include "sandbox/rootfs.h"
#include "sandbox/seccomp.h"
#include "sandbox/spawn.h"
#include "sandbox/test_kernel.h"
#include "sandbox/threads.h"

namespace dormouse::sandbox {
namespace {

namespace fs = std::filesystem;

template <class T>
T run(asio::io_context& io, asio::awaitable<T> work) {
  auto result = asio::co_spawn(io, std::move(work), asio::use_future);
  io.restart();
  while (result.wait_for(std::chrono::seconds(0)) != std::future_status::ready) io.run_one();
  return result.get();
}

struct Folder {
  Folder() {
    char made[] = "/tmp/sandbox_test.XXXXXX";
    path = mkdtemp(made);
    chmod(made, 0755);
  }
  ~Folder() { fs::remove_all(path); }
  fs::path path;
};

fs::path good_root(const Folder& folder) {
  const fs::path root = folder.path / "root";
  for (const char* needed : {"dev", "proc", "sys"}) fs::create_directories(root / needed);
  return root;
}

TEST(Host, SaysWhatEachLackCosts) {
  const auto findings = examine_host({.state_dir = "/tmp", .oci_runtime = "no-such-runtime"});
  ASSERT_GE(findings.size(), 6u);
  bool missed = false;
  for (const Finding& finding : findings) {
    EXPECT_FALSE(finding.what.empty());
    EXPECT_EQ(finding.cost.empty(), finding.grade == Finding::Grade::good) << finding.what;
    missed = missed || finding.what == "OCI runtime no-such-runtime is not installed";
  }
  EXPECT_TRUE(missed);
}

// Of programs that stand in for an OCI runtime.
TEST(Host, SaysWhichOciRuntimeThereIsAndThatItRuns) {
  const Folder folder;
  const std::string program = folder.path / "runtime";
  const auto examined = [&](const char* script) {
    std::ofstream(program) << "#!/bin/sh\n" << script << "\n";
    chmod(program.c_str(), 0755);
    std::string found;
    for (const Finding& finding : examine_host({.state_dir = "/tmp", .oci_runtime = program})) {
      if (finding.what.starts_with("OCI runtime ")) {
        found = finding.what + (finding.grade == Finding::Grade::good ? "" : "!");
      }
    }
    return found;
  };
  const std::string named = "OCI runtime " + program;
  EXPECT_EQ(examined("echo it version 1.2.3; echo more"), named + ": it version 1.2.3");
  EXPECT_EQ(examined("echo it version 1.2.3; exit 1"), named + " does not run!");
  EXPECT_EQ(examined("kill -9 $$"), named + " does not run!");
  EXPECT_EQ(examined(":"), named + " does not run!");
  fs::remove(program);
  const auto findings = examine_host({.state_dir = "/tmp", .oci_runtime = program});
  EXPECT_EQ(
      std::count_if(findings.begin(), findings.end(),
                    [&](const Finding& each) { return each.what == named + " does not run"; }),
      1);
}

// As a child does that was between fork and exec when its daemon was killed.
TEST(Lock, WaitsForAHolderThatIsDying) {
  const Folder folder;
  int held[2];
  ASSERT_EQ(pipe(held), 0);
  const pid_t child = fork();
  if (child == 0) {
    const auto lock = take_lock(folder.path / "lock");
    const bool told = lock && write(held[1], "", 1) == 1;
    poll(nullptr, 0, 100);
    _exit(told ? 0 : 1);
  }
  close(held[1]);
  char byte = 1;
  ASSERT_EQ(read(held[0], &byte, 1), 1);
  close(held[0]);
  EXPECT_TRUE(take_lock(folder.path / "lock"));
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(Lock, IsRefusedWhileItsHolderLives) {
  const Folder folder;
  const auto held = take_lock(folder.path / "lock");
  ASSERT_TRUE(held);
  const auto second = take_lock(folder.path / "lock");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::conflict);
}

// A child's child that somebody else reaps, as a template's forks are.
struct Stranger {
  Stranger() {
    int told[2];
    CHECK(pipe(told) == 0);
    parent = fork();
    if (parent == 0) {
      signal(SIGCHLD, SIG_IGN);
      const pid_t child = fork();
      if (child == 0) pause();
      (void)!write(told[1], &child, sizeof(child));
      pause();
    }
    CHECK(read(told[0], &process.pid, sizeof(process.pid)) == sizeof(process.pid));
    close(told[0]), close(told[1]);
    process.handle = wire::Descriptor(static_cast<int>(syscall(SYS_pidfd_open, process.pid, 0)));
  }
  ~Stranger() {
    kill(parent, SIGKILL);
    waitpid(parent, nullptr, 0);
  }
  pid_t parent = 0;
  Process process;
};

// A daemon's whole folder was copied, and both are started.
TEST(Estate, OfAFolderThatWasCopiedWhileItsOwnerLivesHasAnotherId) {
  namespace fs = std::filesystem;
  char name[] = "/tmp/estate-test-XXXXXX";
  ASSERT_NE(mkdtemp(name), nullptr);
  const fs::path above = name;
  LauncherOptions options;
  options.state_dir = above / "first";
  std::string id;
  {
    const auto first = open_estate(options);
    ASSERT_TRUE(first) << first.error().message;
    id = first->id;
    fs::copy(above / "first", above / "second", fs::copy_options::recursive);
    options.state_dir = above / "second";
    const auto second = open_estate(options);
    ASSERT_TRUE(second) << second.error().message;
    EXPECT_NE(second->id, id);
    EXPECT_EQ(
        std::string(std::istreambuf_iterator<char>(std::ifstream(above / "second/id").rdbuf()), {}),
        second->id);
  }
  options.state_dir = above / "first";
  const auto again = open_estate(options);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->id, id);
  fs::remove_all(above);
}

TEST(Spawn, TellsHowAnothersChildEnded) {
  for (int i = 0; i < 300; ++i) {
    const Stranger ended;
    const int number = i % 2 == 0 ? SIGKILL : SIGTERM;
    kill(ended.process.pid, number);
    const auto how = wait_for(ended.process, std::chrono::seconds(10));
    ASSERT_TRUE(how) << "round " << i;
    ASSERT_EQ(how->told, kernel_tells_of_others()) << "round " << i;
    if (!how->told) continue;
    ASSERT_TRUE(how->signalled) << "round " << i;
    ASSERT_EQ(how->number, number) << "round " << i;
  }
}

TEST(Root, IsMadeWholeWhereItLacksFolders) {
  const Folder folder;
  const fs::path root = good_root(folder);
  ASSERT_TRUE(check_root(root, {{folder.path, "/out/deep", true}}, false));
  for (const char* made : {"tmp", "code", "out/deep"}) EXPECT_TRUE(fs::is_directory(root / made));
  EXPECT_EQ(fs::status(root / "tmp").permissions(), fs::perms(01777));
}

TEST(Root, WithALinkWhereThingsAreMountedIsRefused) {
  for (const char* place : {"dev", "proc", "sys", "tmp", "code"}) {
    for (const char* target : {"/tmp", "../outside", "etc"}) {
      const Folder folder;
      const fs::path root = good_root(folder);
      fs::create_directories(root / "etc");
      fs::create_directories(folder.path / "outside");
      fs::remove(root / place);
      fs::create_symlink(target, root / place);
      const auto checked = check_root(root, {}, false);
      ASSERT_FALSE(checked) << place << " to " << target;
      EXPECT_EQ(checked.error().code, Code::invalid_argument);
      EXPECT_TRUE(fs::is_empty(folder.path / "outside"));
    }
  }
}

TEST(Root, RefusesBindsThatLeaveIt) {
  const Folder folder;
  const fs::path root = good_root(folder);
  fs::create_directory_symlink("/tmp", root / "link");
  for (const char* target : {"out", "/", "/../x", "/a/../../x", "/link/x", "/link", "/x/", "//x"}) {
    EXPECT_FALSE(check_root(root, {{folder.path, target}}, false)) << target;
  }
  EXPECT_FALSE(check_root(root, {{folder.path / "missing", "/out"}}, false));
  EXPECT_FALSE(check_root(root, {{"/dev/null", "/out"}}, false));
}

TEST(Root, BehindAClosedFolderIsRefused) {
  const Folder folder;
  const fs::path root = good_root(folder);
  chmod(folder.path.c_str(), 0700);
  const auto checked = check_root(root, {}, false);
  ASSERT_FALSE(checked);
  EXPECT_NE(checked.error().message.find(folder.path.string() + " is closed"), std::string::npos);
}

TEST(NvidiaCards, AreFoundByTheNamesOfTheirDriver) {
  const Folder folder;
  EXPECT_TRUE(nvidia_devices(folder.path).cards.empty());
  for (const char* name : {"nvidia0", "nvidia10", "nvidia2x", "nvidia-modeset", "nvidiactl",
                           "nvidia-uvm-tools", "null"}) {
    std::ofstream(folder.path / name) << "";
  }
  NvidiaDevices found = nvidia_devices(folder.path);
  EXPECT_EQ(found.cards,
            (std::vector<fs::path>{folder.path / "nvidia0", folder.path / "nvidia10"}));
  EXPECT_FALSE(found.has_unified_memory);
  EXPECT_EQ(found.all, (std::vector<fs::path>{folder.path / "nvidia0", folder.path / "nvidia10",
                                              folder.path / "nvidiactl"}));
  std::ofstream(folder.path / "nvidia-uvm") << "";
  found = nvidia_devices(folder.path);
  EXPECT_TRUE(found.has_unified_memory);
  EXPECT_EQ(found.all.size(), 4u);
  EXPECT_TRUE(nvidia_devices(folder.path / "nowhere").all.empty());
}

TEST(Devices, AreLookedUpByNumber) {
  const auto found = look_up({"/dev/null", "/dev/zero"});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->at(0).major, 1u);
  EXPECT_EQ(found->at(0).minor, 3u);
  EXPECT_EQ(found->at(1).minor, 5u);
}

TEST(Hierarchies, AreReadFromTheMounts) {
  const Hierarchies v1 = hierarchies_in(
      "34 30 0:31 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
      "32 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
      "40 30 0:37 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n");
  EXPECT_FALSE(v1.unified);
  EXPECT_EQ(v1.controllers.at("memory"), "/sys/fs/cgroup/memory");
  EXPECT_EQ(v1.controllers.at("cpuacct"), "/sys/fs/cgroup/cpu,cpuacct");
  EXPECT_EQ(v1.folders("x").size(), 3U);
  const Hierarchies v2 = hierarchies_in("26 22 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  EXPECT_TRUE(v2.unified);
  EXPECT_EQ(v2.folders("a/b"), std::vector<fs::path>{"/sys/fs/cgroup/a/b"});
}

TEST(Fake, RunsAFunctionAtTheOtherEndOfTheSocket) {
  asio::io_context io;
  FakeLauncher launcher(io.get_executor(), [](int socket) {
    char byte;
    while (read(socket, &byte, 1) == 1) send(socket, &byte, 1, MSG_NOSIGNAL);
  });
  auto sandbox = run(io, launcher.launch({}));
  ASSERT_TRUE(sandbox);
  ASSERT_EQ(write((*sandbox)->socket(), "x", 1), 1);
  (*sandbox)->kill();
  EXPECT_EQ(run(io, (*sandbox)->wait()).exit, Exit::returned);
  sandbox->reset();
  EXPECT_EQ(launcher.state.living, 0);
}

TEST(Fake, RunsAChildProcessAndTellsHowItEnded) {
  struct {
    const char* script;
    Exit exit;
    int status;
    std::string told = "";  // Only to one that listens: the others may have ended by then.
  } rows[] = {
      {"exit 0", Exit::returned, 0},
      {"exit 7", Exit::returned, 7},
      {"kill -SEGV $$", Exit::crashed, 139},
      {"kill -KILL $$", Exit::killed, 137},
      {"test \"$(cat <&3)\" = hello", Exit::returned, 0, "hello"},
  };
  for (const auto& row : rows) {
    asio::io_context io;
    FakeLauncher launcher(io.get_executor());
    auto sandbox = run(io, launcher.launch({.root = "/", .argv = {"bin/sh", "-c", row.script}}));
    ASSERT_TRUE(sandbox) << sandbox.error().message;
    const ssize_t size = std::ssize(row.told);
    if (size > 0) {
      ASSERT_EQ(send((*sandbox)->socket(), row.told.data(), row.told.size(), MSG_NOSIGNAL), size);
    }
    shutdown((*sandbox)->socket(), SHUT_WR);
    const Ended ended = run(io, (*sandbox)->wait());
    EXPECT_EQ(ended.exit, row.exit) << row.script;
    EXPECT_EQ(ended.status, row.status) << row.script;
  }
}

TEST(Fake, FailsAsOftenAsItIsTold) {
  asio::io_context io;
  FakeLauncher launcher(io.get_executor());
  launcher.state.failures = {{Code::unavailable, "no"}};
  EXPECT_FALSE(run(io, launcher.launch({.root = "/", .argv = {"bin/true"}})));
  EXPECT_TRUE(run(io, launcher.launch({.root = "/", .argv = {"bin/true"}})));
}

// ---- memory ----

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool is_sanitized = true;
#elif defined(__has_feature)
constexpr bool is_sanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
constexpr bool is_sanitized = false;
#endif

// A child that has a text at one place of its memory, and else only in another form.
struct Keeper {
  static constexpr std::size_t size = 8 << 20;
  static std::string disguised(std::string text) {
    for (char& each : text) each = static_cast<char>(each ^ 0x55);
    return text;
  }
  // `shared`: in memory that is not the child's alone.
  Keeper(const std::string& in_disguise, std::size_t place, bool shared = false) {
    int told[2];
    CHECK(pipe(told) == 0);
    pid = fork();
    if (pid == 0) {
      const int kind = (shared ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS;
      void* const memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, kind, -1, 0);
      auto* const to = static_cast<char*>(memory) + place;
      for (std::size_t i = 0; i < in_disguise.size(); ++i) to[i] = in_disguise[i] ^ 0x55;
      if (write(told[1], "", 1) == 1) pause();
      _exit(1);
    }
    char byte = 1;
    CHECK(read(told[0], &byte, 1) == 1);
    close(told[0]), close(told[1]);
  }
  ~Keeper() {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }
  pid_t pid = 0;
};

TEST(Memory, IsSearchedWhereverAValueLies) {
  if (is_sanitized) GTEST_SKIP() << "a sanitizer reserves more addresses than are searched";
  const std::string kept = Keeper::disguised("a secret of the child's");
  const std::string other = Keeper::disguised("which nobody has anywhere");
  const std::string ours = "what its parent has, too: " + std::to_string(getpid());
  // At its begin and end, across pages, across pieces of 1 MiB; further down untouched pages lie.
  for (const std::size_t place : {std::size_t{0}, std::size_t{4090}, (std::size_t{1} << 20) - 7,
                                  (std::size_t{3} << 20) + 5, Keeper::size - kept.size()}) {
    for (const bool shared : {false, true}) {
      const Keeper keeper(kept, place, shared);
      const std::string values[] = {Keeper::disguised(other), ours, Keeper::disguised(kept)};
      const auto found = values_in_memory(keeper.pid, values);
      ASSERT_TRUE(found) << found.error().message;
      EXPECT_EQ(*found, (std::vector<std::size_t>{1, 2})) << place << shared;
    }
  }
}

TEST(Memory, IsSearchedAcrossPiecesThatAreFull) {
  if (is_sanitized) GTEST_SKIP() << "a sanitizer reserves more addresses than are searched";
  const std::string kept = Keeper::disguised("a secret of the child's");
  std::string wide(3 << 20, Keeper::disguised("-").front());
  wide.replace((std::size_t{1} << 20) - 7, kept.size(), kept);
  const Keeper keeper(wide, 0);
  const std::string values[] = {Keeper::disguised(kept)};
  const auto found = values_in_memory(keeper.pid, values);
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->size(), 1u);
}

TEST(Memory, OfAProcessThatHasEndedIsNone) {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  waitpid(child, nullptr, 0);
  const std::string values[] = {"a secret of the child's"};
  const auto found = values_in_memory(child, values);
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, Code::not_found);
}

TEST(Memory, ThatIsReservedWithoutBoundIsNotSearched) {
  int told[2];
  ASSERT_EQ(pipe(told), 0);
  const pid_t child = fork();
  if (child == 0) {
    constexpr std::size_t much = std::size_t{100} << 30;
    const int kind = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    const bool there = mmap(nullptr, much, PROT_READ | PROT_WRITE, kind, -1, 0) != MAP_FAILED;
    if (there && write(told[1], "", 1) == 1) pause();
    _exit(1);
  }
  char byte = 1;
  ASSERT_EQ(read(told[0], &byte, 1), 1);
  const std::string values[] = {"a secret of the child's"};
  const auto found = values_in_memory(child, values);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  close(told[0]), close(told[1]);
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, Code::unsupported);
}

// ---- threads ----

TEST(Threads, AreNamedWithTheLibraryThatTheyAreIn) {
  int there[2];
  int end[2];
  ASSERT_EQ(pipe(there), 0);
  ASSERT_EQ(pipe(end), 0);
  const pid_t child = fork();
  if (child == 0) {
    pthread_t thread;
    const auto body = [](void* ends) -> void* {
      pthread_setname_np(pthread_self(), "worker-7");
      const int* const pipes = static_cast<int*>(ends);
      char byte = 1;
      if (write(pipes[0], &byte, 1) == 1) (void)!read(pipes[1], &byte, 1);
      _exit(0);
    };
    int pipes[] = {there[1], end[0]};
    close(end[1]);
    if (pthread_create(&thread, nullptr, body, pipes) == 0) pthread_join(thread, nullptr);
    _exit(1);
  }
  char byte = 0;
  ASSERT_EQ(read(there[0], &byte, 1), 1);
  const std::string program = fs::read_symlink("/proc/self/exe").filename();
  std::vector<std::string> found;
  for (int i = 0; i < 200 && (found.empty() || !found[0].contains(" of ")); ++i) {
    usleep(5000);  // Until it waits.
    found = threads_of(child);
  }
  EXPECT_EQ(found, std::vector<std::string>{"worker-7 of " + program});
  EXPECT_EQ(parent_of(child), getpid());
  EXPECT_TRUE(threads_of(999'999'999).empty());
  close(end[1]);
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
}

}  // namespace
}  // namespace dormouse::sandbox
