#include "sandbox/apart.h"

#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>

#include "sandbox/sandbox.h"
#include "sandbox/spawn.h"

namespace dormouse::sandbox {
namespace {

constexpr int cannot_give_up = 125;
constexpr unsigned nobody = 65534;

void must(bool done) {
  if (!done) _exit(cannot_give_up);
}

void limit(__rlimit_resource what, std::uint64_t most) {
  const rlimit both{most, most};
  must(::setrlimit(what, &both) == 0);
}

// Descriptors 0 to 2 stay open; RLIMIT_NOFILE counts numbers, and there is none below it left.
void bound(const ApartLimits& limits) {
  limit(RLIMIT_AS, limits.memory_bytes_max);
  limit(RLIMIT_CPU, limits.cpu_seconds_max);
  limit(RLIMIT_FSIZE, limits.output_bytes_max);
  limit(RLIMIT_NOFILE, 3);
  limit(RLIMIT_CORE, no_core.rlim_max);
  limit(RLIMIT_MEMLOCK, 0);
}

// /proc/self/fdinfo has nothing in it but numbers, cannot be written to, and ends with the process.
void leave_the_file_system() {
  constexpr int everything =
      CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
  must(::unshare(everything) == 0);
  must(::chroot("/proc/self/fdinfo") == 0 && ::chdir("/") == 0);
}

void become_nobody() {
  must(::setgroups(0, nullptr) == 0);
  must(::setresgid(nobody, nobody, nobody) == 0 && ::setresuid(nobody, nobody, nobody) == 0);
  limit(RLIMIT_NPROC, 0);
  must(::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0);
  must(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  must(::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0);  // Forgotten by a change of user.
}

// What is refused with an error is what a library tries and does without; the rest is its end.
void filter_system_calls() {
  const scmp_filter_ctx filter = ::seccomp_init(SCMP_ACT_KILL_PROCESS);
  must(filter != nullptr);
  const auto allow = [&](int call) {
    must(::seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0) == 0);
  };
  for (const int call : {SCMP_SYS(read), SCMP_SYS(pread64), SCMP_SYS(write), SCMP_SYS(lseek),
                         SCMP_SYS(ftruncate), SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(brk),
                         SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(futex),
                         SCMP_SYS(clock_gettime), SCMP_SYS(exit_group), SCMP_SYS(exit)}) {
    allow(call);
  }
  const scmp_arg_cmp no_code{
      .arg = 2, .op = SCMP_CMP_MASKED_EQ, .datum_a = PROT_EXEC, .datum_b = 0};
  for (const int call : {SCMP_SYS(mmap), SCMP_SYS(mprotect)}) {
    must(::seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call, 1, &no_code) == 0);
  }
  for (const int call : {SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(readlink), SCMP_SYS(access),
                         SCMP_SYS(getrandom), SCMP_SYS(getcpu)}) {
    must(::seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), call, 0) == 0);
  }
  must(::seccomp_load(filter) == 0);
  ::seccomp_release(filter);
}

}  // namespace

Result<> run_apart(const ApartCommand& command) {
  const auto process = spawn({.program = command.program,
                              .argv = command.argv,
                              .input = command.input,
                              .output = command.output});
  if (!process) return process.error();
  auto ended = wait_for(*process, command.patience);
  if (!ended) {
    kill_process(*process);
    ended = wait_for(*process, std::chrono::seconds(10));
    return Error{Code::invalid_argument, "reading it took too long"};
  }
  if (!ended->signalled && ended->number == 0) return ok;
  if (!ended->signalled && ended->number == cannot_give_up) {
    return Error{Code::unavailable, "this host does not let a process give everything up"};
  }
  return Error{Code::invalid_argument, std::string("reading it ended with ") +
                                           (ended->signalled ? "signal " : "status ") +
                                           std::to_string(ended->number)};
}

void give_everything_up(const ApartLimits& limits) {
  leave_the_file_system();
  bound(limits);
  become_nobody();
  filter_system_calls();
}

}  // namespace dormouse::sandbox
