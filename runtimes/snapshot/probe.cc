// What snapshot_test.cc saves and wakes: probe save FILE KEY [WHAT], probe wake FILE KEY. It has
// something of each kind in its memory, and says whether it is there again. WHAT is something that
// it cannot be saved with.
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "runtimes/snapshot/snapshot.h"

namespace {

using namespace dormouse;

constexpr int socket_number = 3;

__thread int of_this_thread = 0;
int interrupted = 0;
void interrupt(int) {
  ++interrupted;
}

// Anonymous memory of which most is nothing, with something here and there.
class Sparse {
 public:
  Sparse() {
    bytes_ = static_cast<char*>(
        mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    for (std::size_t at = 0; at < size; at += step) bytes_[at] = value(at);
    for (std::size_t at = 0; at < solid; ++at) bytes_[at] = value(at);
    mprotect(bytes_, solid, PROT_READ);
  }
  bool is_whole() const {
    for (std::size_t at = 0; at < size; at += at < solid ? 1 : step) {
      if (bytes_[at] != value(at)) return false;
    }
    return bytes_[size - 1] == 0;
  }

 private:
  static constexpr std::size_t size = 64 << 20, step = 1 << 20, solid = 3 << 20;
  static char value(std::size_t at) { return static_cast<char>(1 + at % 100 + (at >> 20)); }
  char* bytes_;
};

bool throws_and_catches() {
  try {
    return std::vector<int>().at(7) == 7;
  } catch (const std::out_of_range& failure) {
    return std::string(failure.what()).contains("7");
  }
}

bool forks() {
  const pid_t child = fork();
  if (child == 0) _exit(getpid() != gettid() || of_this_thread != 7 ? 1 : 42);
  int status = 0;
  return waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 42;
}

bool starts_a_thread() {
  bool ran = false;
  std::thread([&] { ran = of_this_thread == 0; }).join();
  return ran;
}

bool has_time() {
  const auto now = std::chrono::system_clock::now();
  std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return std::chrono::system_clock::now() > now;
}

// Deeper than the stack had grown.
int depth(int left) {
  std::array<volatile char, 4096> room{};
  room[0] = 1;
  return left == 0 ? 0 : room[0] + depth(left - 1);
}

bool allocates() {
  std::vector<std::unique_ptr<char[]>> all;
  for (std::size_t bytes = 1; bytes < (64 << 20); bytes *= 2) {
    all.push_back(std::make_unique<char[]>(bytes));
    all.back()[bytes - 1] = 1;
  }
  return true;
}

// The file beside the snapshot, as private memory of which one page was changed.
class OfFile {
 public:
  explicit OfFile(const std::string& name) {
    const int file = open(name.c_str(), O_RDONLY | O_CLOEXEC);
    bytes_ = static_cast<char*>(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0));
    close(file);
    bytes_[page] = 'c';
  }
  bool is_whole() const {
    return bytes_[0] == 'f' && bytes_[page] == 'c' && bytes_[size - 1] == 'f';
  }

 private:
  static constexpr std::size_t page = 4096, size = 3 * page;
  char* bytes_;
};

// Something that cannot be saved; the thread waits for ever.
void have(const std::string& what) {
  if (what == "thread") std::thread(pause).detach();
  if (what == "descriptor") (void)eventfd(0, 0);
  if (what == "shared") {
    (void)mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  }
  if (what == "wiped") {
    void* const got =
        mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    (void)madvise(got, 4096, MADV_WIPEONFORK);
  }
  if (what == "hidden") {
    void* const got =
        mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *static_cast<char*>(got) = 'h';
    (void)mprotect(got, 4096, PROT_NONE);
  }
  if (what == "code") {
    (void)mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  }
}

int check(const char* what, bool good) {
  std::printf("%s: %s\n", what, good ? "good" : "BAD");
  return good ? 0 : 1;
}

int save(const char* path, const char* key) {
  std::map<std::string, std::vector<int>> on_the_heap;
  for (int i = 0; i < 1000; ++i) on_the_heap[std::to_string(i)] = {i, i + 1};
  const Sparse sparse;
  const auto beside = std::filesystem::path(path).parent_path();
  const OfFile of_file(beside / "mapped"), of_code(beside / "code/mapped");
  of_this_thread = 7;
  std::signal(SIGUSR1, interrupt);
  umask(027);
  const rlimit few{.rlim_cur = 300, .rlim_max = 300};
  setrlimit(RLIMIT_NOFILE, &few);
  const std::string of_the_stack = "short";
  const int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  const auto side = snapshot::save(file, socket_number, key);
  if (!side) {
    std::printf("%s\n", side.error().message.c_str());
    return 1;
  }
  if (*side == snapshot::Side::saved) return std::puts("saved") < 0;
  int bad = check("heap", on_the_heap.size() == 1000 && on_the_heap.at("777").back() == 778);
  bad += check("sparse", sparse.is_whole());
  bad += check("file's memory", of_file.is_whole() && of_code.is_whole());
  bad += check("stack", of_the_stack == "short" && depth(1000) == 1000);
  bad += check("thread", of_this_thread == 7 && starts_a_thread());
  bad += check("exceptions", throws_and_catches());
  bad += check("forks", forks());
  bad += check("time", has_time());
  bad += check("allocates", allocates());
  std::raise(SIGUSR1);
  bad += check("signals", interrupted == 1);
  bad += check("umask", umask(0) == 027);
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  bad += check("limits", limit.rlim_cur == 300 && limit.rlim_max == 300);
  bad += check("file", fcntl(file, F_GETFD) < 0);
  return bad;
}

int wake(const char* path, const char* key) {
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  const std::string folder = std::filesystem::path(path).parent_path() / "code";
  const Error why = snapshot::wake({file, socket_number, key, folder});
  std::printf("%s\n", why.message.c_str());
  return 2;
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 4) return 3;
  if (count > 4) have(arguments[4]);
  const bool saves = std::string(arguments[1]) == "save";
  const int status = saves ? save(arguments[2], arguments[3]) : wake(arguments[2], arguments[3]);
  std::fflush(nullptr);
  _exit(status);
}
