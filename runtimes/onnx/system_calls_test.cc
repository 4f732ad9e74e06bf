// What the worker does to the system, as strace sees it: ONNX Runtime's telemetry would open
// sockets, write files and start a thread.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "runtimes/onnx/worker_driver.h"

namespace dormouse::onnx {
namespace {

namespace fs = std::filesystem;
using wire::DataType;

// The path in `openat(AT_FDCWD, "/x", …)` and the like; empty if the call names none.
std::string path_of(const std::string& line) {
  const std::size_t begin = line.find('"');
  return begin == line.npos ? "" : line.substr(begin + 1, line.find('"', begin + 1) - begin - 1);
}

// Shared objects, the revision, and what says how many processors there are (inside a sandbox, of
// which /sys is no part, that is found by asking the processor).
bool is_allowed_path(const std::string& path, const fs::path& code) {
  for (const char* begin : {"/tmp/", "/proc/self/", "/proc/cpuinfo", "/sys/devices/system/cpu/",
                            "/sys/bus/pci/devices", "/etc/ld.so.", "/dev/null"}) {
    if (path.starts_with(begin)) return true;
  }
  return path.find(".so") != path.npos || path.starts_with(code.string());
}

// Of those that are traced. Sending and receiving is on the wire's socket alone.
bool is_allowed(const std::string& call, const fs::path& code) {
  if (call.starts_with("recvmsg(3,") || call.starts_with("sendmsg(3,")) return true;
  if (call.starts_with("openat2(") && call.contains("RESOLVE_BENEATH")) return true;
  const bool opens = call.starts_with("open(") || call.starts_with("openat(");
  const bool reads =
      opens && call.contains("O_RDONLY") && !call.contains("O_CREAT") && !call.contains("O_TRUNC");
  return (reads || path_of(call) == "/dev/null") && is_allowed_path(path_of(call), code);
}

class Traced {
 public:
  explicit Traced(fs::path code) : code_(std::move(code)) {}
  ~Traced() { fs::remove(file_); }

  // What strace goes before. Its own start is not the worker's.
  std::vector<std::string> words() const {
    return {"strace",
            "-f",
            "-qq",
            "-e",
            "trace=open,openat,openat2,creat,%network,clone,clone3,fork,vfork,execve,execveat,"
            "unlink,unlinkat,rename,renameat,renameat2,mkdir,mkdirat,link,linkat,symlink,symlinkat,"
            "mknod,mknodat,truncate,io_uring_setup",
            "-o",
            file_};
  }

  // Once the worker has ended.
  std::vector<std::string> calls() const {
    std::vector<std::string> calls;
    std::ifstream file(file_);
    for (std::string line; std::getline(file, line);) {
      // "1234  openat(…": the process, and spaces up to a column.
      const std::size_t begin = line.find_first_not_of("0123456789 ");
      if (begin != line.npos) calls.push_back(line.substr(begin));
    }
    return calls;
  }

  void expect_nothing_strange() const {
    int opened = 0, received = 0, begun = 0;
    for (const std::string& call : calls()) {
      opened += call.starts_with("open");
      received += call.starts_with("recvmsg(3,");
      if (call.starts_with("execve(") && begun++ == 0) continue;
      if (call.starts_with("<... ") || call.starts_with("+++") || call.starts_with("---")) continue;
      EXPECT_TRUE(is_allowed(call, code_)) << call;
    }
    EXPECT_EQ(begun, 1);
    EXPECT_GT(opened, 3);  // That something was traced at all.
    EXPECT_GT(received, 1);
  }

 private:
  const fs::path code_;
  const fs::path file_ = fs::temp_directory_path() / ("onnx_trace." + std::to_string(getpid()));
};

Result<Answered> multiply(WorkerDriver& worker) {
  return worker.invoke({{{"x", DataType::fp32, {1, 4}}, raw({1.f, 0.f, 0.f, 1.f})}});
}

TEST(SystemCalls, NoSocketsNoStrangeFilesOneThread) {
  const Traced traced(ONNX_TESTDATA);
  {
    WorkerDriver worker(ONNX_TESTDATA, "/tmp", traced.words());
    ASSERT_TRUE(worker.load({{"model", "matmul.onnx"}, {"threads", "1"}}));
    const auto answer = multiply(worker);
    ASSERT_TRUE(answer) << answer.error().message;
  }
  traced.expect_nothing_strange();
}

TEST(SystemCalls, ATaskDoesNoMore) {
  const Traced traced(ONNX_TEXT_LINE);
  {
    WorkerDriver worker(ONNX_TEXT_LINE, "/tmp", traced.words());
    const auto ready = worker.load({{"task", "text-line"}, {"task.keys", "keys.txt"}});
    ASSERT_TRUE(ready) << ready.error().message;
    const auto answer =
        worker.invoke_raw("image/png", content(fs::path(ONNX_EXAMPLE) / "sleeps.png"));
    ASSERT_TRUE(answer) << answer.error().message;
  }
  traced.expect_nothing_strange();
}

// That a thread would have been seen.
TEST(SystemCalls, TheTraceShowsThreads) {
  const Traced traced(ONNX_TESTDATA);
  {
    WorkerDriver worker(ONNX_TESTDATA, "/tmp", traced.words());
    ASSERT_TRUE(worker.load({{"model", "matmul.onnx"}, {"threads", "3"}}));
    ASSERT_TRUE(multiply(worker));
  }
  const auto calls = traced.calls();
  const auto starts_a_thread = [](const std::string& call) { return call.starts_with("clone"); };
  EXPECT_EQ(std::ranges::count_if(calls, starts_a_thread), 2);
  for (const std::string& call : calls) {
    if (starts_a_thread(call)) EXPECT_FALSE(is_allowed(call, ONNX_TESTDATA)) << call;
  }
}

TEST(SystemCalls, OneThreadForOneAndMoreForMore) {
  for (const char* threads : {"1", "3"}) {
    WorkerDriver worker(ONNX_TESTDATA);
    ASSERT_TRUE(worker.load({{"model", "matmul.onnx"}, {"threads", threads}}));
    EXPECT_EQ(worker.status("Threads"), threads);
  }
}

}  // namespace
}  // namespace dormouse::onnx
