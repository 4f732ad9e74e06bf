// What is left to a process that gave everything up: to read, to write and to have memory.
#include "sandbox/apart.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

namespace dormouse::sandbox {
namespace {

constexpr ApartLimits limits{
    .memory_bytes_max = std::uint64_t{1} << 30, .output_bytes_max = 1 << 20, .cpu_seconds_max = 1};

// How a process ends that gives everything up and then does this.
int status_after(const std::function<int()>& work) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::close_range(3, ~0U, 0);
    give_everything_up(limits);
    ::_exit(work());
  }
  int status = 0;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  return status;
}

struct Row {
  const char* what;
  std::function<int()> work;
};

TEST(Apart, CanReadWriteAndHaveMemory) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  ASSERT_EQ(::dup2(ends[1], STDIN_FILENO), STDIN_FILENO);
  const int status = status_after([] {
    void* const memory =
        ::mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory != MAP_FAILED && ::write(STDIN_FILENO, "x", 1) == 1 ? 7 : 8;
  });
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << status;
}

TEST(Apart, IsEndedForWhatItHasNoUseFor) {
  const Row rows[] = {
      {"socket", [] { return ::socket(AF_INET, SOCK_STREAM, 0); }},
      {"unix socket", [] { return ::socket(AF_UNIX, SOCK_STREAM, 0); }},
      {"fork", [] { return static_cast<int>(::fork()); }},
      {"thread", [] { return static_cast<int>(::syscall(SYS_clone3, nullptr, 0)); }},
      {"execve", [] { return ::execl("/bin/true", "true", nullptr); }},
      {"kill", [] { return ::kill(::getppid(), 0); }},
      {"ptrace", [] { return static_cast<int>(::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr)); }},
      {"setuid", [] { return ::setuid(0); }},
      {"prctl", [] { return ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); }},
      {"limits", [] { return static_cast<int>(::syscall(SYS_prlimit64, 0, 0, nullptr, nullptr)); }},
      {"mkdir", [] { return ::mkdir("x", 0700); }},
      {"unlink", [] { return ::unlink("x"); }},
      {"mount", [] { return static_cast<int>(::syscall(SYS_mount, 0, 0, 0, 0, 0)); }},
      {"dup", [] { return ::dup(0); }},
      {"memfd", [] { return ::memfd_create("x", 0); }},
      {"io_uring", [] { return static_cast<int>(::syscall(SYS_io_uring_setup, 1, nullptr)); }},
      {"code",
       [] {
         return ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
                MAP_FAILED;
       }},
      {"code later", [] { return ::mprotect(nullptr, 4096, PROT_EXEC); }},
  };
  for (const Row& row : rows) {
    const int status = status_after(row.work);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) << row.what << ": " << status;
  }
}

TEST(Apart, FindsNoFile) {
  const int status = status_after([] {
    const bool opens = ::open("/etc/passwd", O_RDONLY) >= 0 || ::open("/", O_RDONLY) >= 0;
    struct stat found{};
    const bool sees = ::fstatat(AT_FDCWD, "/etc", &found, 0) == 0;
    return opens ? 1 : sees ? 2 : 0;
  });
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

TEST(Apart, IsEndedAtItsLimits) {
  int status = status_after([] {
    for (volatile int i = 0;; i = i + 1) {
    }
    return 0;
  });
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  const int file = ::memfd_create("written", 0);
  ASSERT_EQ(::dup2(file, STDIN_FILENO), STDIN_FILENO);
  status = status_after([] {
    static const char block[64 << 10] = {};
    for (int i = 0; i < 100; ++i) {
      if (::write(STDIN_FILENO, block, sizeof(block)) < 0) return 3;
    }
    return 0;
  });
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ) << status;
  EXPECT_LE(::lseek(file, 0, SEEK_END), 1 << 20);
  status = status_after([] {
    void* const memory = ::mmap(nullptr, std::size_t{2} << 30, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED && errno == ENOMEM ? 0 : 1;
  });
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

TEST(Apart, ThatDoesNotEndWellIsAnErrorAndThatTakesTooLongIsEnded) {
  const auto run = [](std::vector<std::string> words, Duration patience) {
    std::string program = words.front();
    return run_apart(
        {.program = std::move(program), .argv = std::move(words), .patience = patience});
  };
  using namespace std::chrono_literals;
  EXPECT_TRUE(run({"/bin/true"}, 1min));
  EXPECT_EQ(run({"/bin/false"}, 1min).error().message, "reading it ended with status 1");
  EXPECT_EQ(run({"/bin/sleep", "100"}, 10ms).error().message, "reading it took too long");
  EXPECT_EQ(run({"/nowhere"}, 1min).error().code, Code::invalid_argument);
}

}  // namespace
}  // namespace dormouse::sandbox
