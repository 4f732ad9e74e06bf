// S3, S4, S5: taking more than one may.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "escape.h"

namespace escape {
namespace {

constexpr std::size_t mebibyte = 1 << 20;

int touch(long most) {
  for (long i = 0; i < most; ++i) {
    void* block =
        mmap(nullptr, mebibyte, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED) return 1;
    std::memset(block, 1, mebibyte);
  }
  return 0;
}

int lock(long most) {
  for (long i = 0; i < most; ++i) {
    void* block =
        mmap(nullptr, mebibyte, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED || mlock(block, mebibyte) != 0) return touch(most);
  }
  return 0;
}

int write_file(int file, long most) {
  static char block[mebibyte];
  std::memset(block, 1, sizeof(block));
  for (long i = 0; i < most; ++i) {
    if (write(file, block, sizeof(block)) < 0) return 1;
  }
  return 0;
}

// Fills the buffers of pipes or sockets that nobody reads.
int fill_buffers(bool sockets) {
  static char block[64 * 1024];
  long bytes = 0;
  int ends[2];
  while ((sockets ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends)
                  : pipe2(ends, O_NONBLOCK)) == 0) {
    if (!sockets) fcntl(ends[1], F_SETPIPE_SZ, mebibyte);
    for (ssize_t size; (size = write(ends[1], block, sizeof(block))) > 0;) bytes += size;
  }
  std::printf("buffers %ld\n", bytes);
  return 0;
}

// In a child that is not PID 1: the kernel may choose it alone.
int in_child(long most) {
  const pid_t child = fork();
  if (child == 0) _exit(touch(most));
  int status = 0;
  waitpid(child, &status, 0);
  sleep(60);  // The sandbox does not live that long.
  return 0;
}

int fork_until_refused() {
  int children = 0;
  for (;;) {
    const pid_t child = fork();
    if (child < 0) break;
    if (child == 0) {
      pause();
      _exit(0);
    }
    ++children;
  }
  std::printf("children %d: %s\n", children, std::strerror(errno));
  return 0;
}

// Every process forks for ever.
int fork_everywhere() {
  std::puts("here");
  signal(SIGCHLD, SIG_IGN);
  for (;;) fork();
}

}  // namespace

int bomb(const std::string& kind, long most) {
  if (kind == "touch") return touch(most);
  if (kind == "mlock") return lock(most);
  if (kind == "child") return in_child(most);
  if (kind == "tmp") return write_file(open("/tmp/bomb", O_CREAT | O_WRONLY, 0600), most);
  if (kind == "memfd") return write_file(memfd_create("bomb", 0), most);
  if (kind == "pipes") return fill_buffers(false);
  if (kind == "sockets") return fill_buffers(true);
  if (kind == "forks") return fork_until_refused();
  if (kind == "forks-everywhere") return fork_everywhere();
  return 64;
}

int fill(const std::string& kind) {
  long filled = 0;
  if (kind == "inodes") {
    for (;; ++filled) {
      const std::string path = "/tmp/" + std::to_string(filled);
      const int file = open(path.c_str(), O_CREAT | O_WRONLY, 0600);
      if (file < 0) break;
      close(file);
    }
  } else {
    const char* path = kind == "shm" ? "/dev/shm/fill" : "/tmp/fill";
    const int file = open(path, O_CREAT | O_WRONLY, 0600);
    static char block[4096];
    for (ssize_t size; (size = write(file, block, sizeof(block))) > 0;) filled += size;
  }
  std::printf("filled %ld: %s\n", filled, std::strerror(errno));
  return until_closed();
}

}  // namespace escape
