#include "sandbox/spawn.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

namespace dormouse::sandbox {
namespace {

constexpr int number_high = 100;  // Above every descriptor that the child ends with.

// Runs in the child, which borrows the parent's memory until exec: system calls only, nothing
// allocated, nothing of the parent's changed.
[[noreturn]] void become(const Command& command, char* const* argv) {
  for (const int entrance : command.entrances) {
    if (write(entrance, "0", 1) != 1) _exit(126);
  }
  struct sigaction by_default{};
  by_default.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; ++number) sigaction(number, &by_default, nullptr);
  setsid();  // A terminal's Ctrl-C is for the daemon, which then stops its sandboxes in order.

  // First out of each other's way, then into place.
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  const int input = fcntl(command.input < 0 ? null : command.input, F_DUPFD_CLOEXEC, number_high);
  const int output =
      fcntl(command.output < 0 ? null : command.output, F_DUPFD_CLOEXEC, number_high);
  if (input < 0 || output < 0) _exit(126);
  int last = 2;
  if (command.socket >= 0) {
    const int socket = fcntl(command.socket, F_DUPFD_CLOEXEC, number_high);
    if (dup2(socket, 3) != 3) _exit(126);
    last = 3;
  }
  if (dup2(input, 0) != 0 || dup2(output, 1) != 1 || dup2(output, 2) != 2) _exit(126);
  if (close_range(static_cast<unsigned>(last) + 1, ~0U, 0) != 0) _exit(126);
  if (chdir("/") != 0) _exit(126);

  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execve(command.program.c_str(), argv, const_cast<char* const*>(helper_environment));
  _exit(127);
}

// A pidfd of our own child stays that child's: nobody else reaps it.
Result<Process> held(pid_t pid) {
  wire::Descriptor handle(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!handle) return system_error(Code::unavailable, "pidfd_open");
  return Process{pid, std::move(handle)};
}

}  // namespace

Result<Process> spawn(const Command& command) {
  std::vector<char*> argv;
  for (const std::string& word : command.argv) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);

  // With signals blocked no handler of the daemon's runs in the child. vfork, because copying the
  // daemon's page tables would take longer than all the rest.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = vfork();
  if (pid == 0) become(command, argv.data());
  const int error = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) return system_error(Code::unavailable, "vfork", error);
  return held(pid);
}

Result<Process> adopt(pid_t pid) {
  auto process = held(pid);
  if (!process) return process;
  siginfo_t found{};
  const auto id = static_cast<id_t>(process->handle.number());
  if (waitid(P_PIDFD, id, &found, WEXITED | WNOHANG | WNOWAIT | __WALL) != 0) {
    return system_error(Code::unavailable, "adopting process " + std::to_string(pid));
  }
  return process;
}

void kill_process(const Process& process) {
  syscall(SYS_pidfd_send_signal, process.handle.number(), SIGKILL, nullptr, 0);
}

namespace {

// linux/pidfd.h of Linux 6.15 and later, in its first form.
struct PidfdReport {
  std::uint64_t mask, cgroup;
  std::uint32_t pid, tgid, ppid, ids[8];
  std::int32_t exit_code;
};
static_assert(sizeof(PidfdReport) == 64);
constexpr std::uint64_t report_exit = 1 << 3;

// Of one that is not our child, and that somebody else has reaped.
Status status_of_other(const Process& process) {
  constexpr int tries = 10;  // It can be seen to have ended a moment before it is reaped,
  PidfdReport found{};
  bool told = false, was_gone = false;
  for (int i = 0; i < tries && !told; ++i) {
    if (i > 0 && !was_gone) poll(nullptr, 0, 1);
    found.mask = report_exit;
    const int failed = ioctl(process.handle.number(), _IOWR(0xFF, 11, PidfdReport), &found);
    // and be reaped between the kernel's looks for its report and for itself: then the report is
    // there by now.
    if (failed != 0 && (errno != ESRCH || std::exchange(was_gone, true))) break;
    told = failed == 0 && (found.mask & report_exit) != 0;
  }
  if (!told) return {true, SIGKILL, false};
  if (WIFEXITED(found.exit_code)) return {false, WEXITSTATUS(found.exit_code)};
  return {true, WTERMSIG(found.exit_code)};
}

}  // namespace

bool has_ended(const Process& process) {
  pollfd ended{process.handle.number(), POLLIN, 0};
  return poll(&ended, 1, 0) == 1;
}

std::optional<Status> reap(const Process& process) {
  siginfo_t found{};
  const auto id = static_cast<id_t>(process.handle.number());
  if (waitid(P_PIDFD, id, &found, WEXITED | WNOHANG | __WALL) != 0) return status_of_other(process);
  if (found.si_pid == 0) return std::nullopt;
  return Status{found.si_code != CLD_EXITED, found.si_status};
}

std::optional<Status> wait_for(const Process& process, Duration patience) {
  pollfd ended{process.handle.number(), POLLIN, 0};
  using std::chrono::milliseconds;
  const auto milli = std::chrono::duration_cast<milliseconds>(patience).count();
  while (poll(&ended, 1, static_cast<int>(milli)) < 0 && errno == EINTR) {
  }
  return reap(process);
}

void reap_orphans(const std::vector<pid_t>& pids) {
  for (const pid_t pid : pids) {
    // A process leaves its control group a moment before it can be reaped.
    for (int turn = 0; turn < 1000; ++turn) {
      siginfo_t found{};
      const int failed = waitid(P_PID, static_cast<id_t>(pid), &found, WEXITED | WNOHANG | __WALL);
      if (failed != 0 || found.si_pid != 0) break;
      poll(nullptr, 0, 1);
    }
  }
}

void wait_until_reaped(const std::vector<pid_t>& pids) {
  int turns_left = 100;  // A number may be another process's by now.
  for (const pid_t pid : pids) {
    while (::kill(pid, 0) == 0 && turns_left-- > 0) poll(nullptr, 0, 1);
  }
}

Result<std::string> find_program(const std::string& program) {
  if (program.find('/') != std::string::npos) return program;
  for (const char* folder : {"/usr/sbin", "/usr/bin", "/sbin", "/bin"}) {
    const std::filesystem::path candidate = std::filesystem::path(folder) / program;
    if (access(candidate.c_str(), X_OK) == 0) return candidate.string();
  }
  return Error{Code::unavailable, program + " is not installed"};
}

}  // namespace dormouse::sandbox
