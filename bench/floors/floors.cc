// What this machine itself costs, measured in the same run as everything else. Times in
// microseconds.
//
//   bench_floors wake             a byte to another thread and back: on one core, and across two
//   bench_floors spawn PROGRAM    fork and exec until its first byte on descriptor 3
//   bench_floors populate FILE    MAP_POPULATE of a file, and how much of it the page cache had
//   bench_floors resident FILE    how much of it the page cache has
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point began) {
  return std::chrono::duration<double, std::micro>(Clock::now() - began).count();
}

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::exit(1);
}

void pin(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  if (sched_setaffinity(0, sizeof(set), &set) != 0) die("sched_setaffinity");
}

double round_trip(int here, int there) {
  constexpr int rounds = 5000;
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) die("socketpair");
  const pid_t child = fork();
  char byte = 'x';
  if (child == 0) {
    pin(there);
    close(ends[0]);
    while (read(ends[1], &byte, 1) == 1 && write(ends[1], &byte, 1) == 1) {
    }
    _exit(0);
  }
  close(ends[1]);
  pin(here);
  std::vector<double> took;
  for (int i = 0; i < rounds; ++i) {
    const auto began = Clock::now();
    if (write(ends[0], &byte, 1) != 1 || read(ends[0], &byte, 1) != 1) die("round trip");
    took.push_back(since(began));
  }
  close(ends[0]);
  waitpid(child, nullptr, 0);
  std::ranges::sort(took);
  return took[took.size() / 2];
}

void spawn(char* program) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) die("socketpair");
  const auto began = Clock::now();
  const pid_t child = fork();
  if (child == 0) {
    if (ends[1] == 3) {
      fcntl(3, F_SETFD, 0);
    } else {
      dup2(ends[1], 3);
    }
    char* const arguments[] = {program, nullptr};
    execv(program, arguments);
    _exit(127);
  }
  close(ends[1]);
  char byte;
  if (read(ends[0], &byte, 1) != 1) die("the program said nothing");
  std::printf("{\"spawn\": %.1f}\n", since(began));
  close(ends[0]);
  waitpid(child, nullptr, 0);
}

struct File {
  int number;
  std::size_t size;
};

File opened(const char* path) {
  const int number = open(path, O_RDONLY | O_CLOEXEC);
  struct stat found{};
  if (number < 0 || fstat(number, &found) != 0) die(path);
  return {number, static_cast<std::size_t>(found.st_size)};
}

// The part of it that is in the page cache.
double resident(const File& file) {
  void* const probe = mmap(nullptr, file.size, PROT_READ, MAP_SHARED, file.number, 0);
  if (probe == MAP_FAILED) die("mmap");
  std::vector<unsigned char> pages((file.size + 4095) / 4096);
  if (mincore(probe, file.size, pages.data()) != 0) die("mincore");
  munmap(probe, file.size);
  const auto there = std::ranges::count_if(pages, [](unsigned char c) { return (c & 1) != 0; });
  return static_cast<double>(there) / static_cast<double>(pages.size());
}

// The mapping stays shared and read-only, as a worker maps weights.
void populate(const File& file) {
  const double there = resident(file);
  const auto began = Clock::now();
  void* const mapped =
      mmap(nullptr, file.size, PROT_READ, MAP_SHARED | MAP_POPULATE, file.number, 0);
  const double took = since(began);
  if (mapped == MAP_FAILED) die("mmap");
  std::printf("{\"populate\": %.1f, \"bytes\": %zu, \"resident\": %.6f}\n", took, file.size, there);
}

}  // namespace

int main(int count, char** arguments) {
  const std::string_view what = count > 1 ? arguments[1] : "";
  if (what == "wake" && count == 2) {
    std::printf("{\"same\": %.2f, \"across\": %.2f}\n", round_trip(0, 0), round_trip(0, 1));
  } else if (what == "spawn" && count == 3) {
    spawn(arguments[2]);
  } else if (what == "populate" && count == 3) {
    populate(opened(arguments[2]));
  } else if (what == "resident" && count == 3) {
    std::printf("{\"resident\": %.6f}\n", resident(opened(arguments[2])));
  } else {
    std::fprintf(stderr,
                 "usage: bench_floors wake | spawn PROGRAM | populate FILE | resident FILE\n");
    return 2;
  }
  return 0;
}
