// What the worker does to the system, as strace sees it: ONNX Runtime's telemetry would open
// sockets, write files and start a thread.
#include <gtest/gtest.h>
#include <unistd.h>

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
bool is_allowed(const std::string& path, const fs::path& code) {
  for (const char* begin : {"/tmp/", "/proc/self/", "/proc/cpuinfo", "/sys/devices/system/cpu/",
                            "/sys/bus/pci/devices", "/etc/ld.so.", "/dev/null"}) {
    if (path.starts_with(begin)) return true;
  }
  return path.find(".so") != path.npos || path.starts_with(code.string());
}

TEST(SystemCalls, NoSocketsNoStrangeFilesOneThread) {
  const fs::path trace = fs::temp_directory_path() / ("onnx_trace." + std::to_string(getpid()));
  const fs::path code = ONNX_TESTDATA;
  {
    WorkerDriver worker(code, "/tmp",
                        {"strace", "-f", "-qq", "-e",
                         "trace=open,openat,openat2,creat,%network,"
                         "clone,clone3,fork,vfork,execve,unlink,rename,mkdir",
                         "-o", trace});
    ASSERT_TRUE(worker.load({{"model", "matmul.onnx"}, {"threads", "1"}}));
    const auto answer = worker.invoke({{{"x", DataType::fp32, {1, 4}}, raw({1.f, 0.f, 0.f, 1.f})}});
    ASSERT_TRUE(answer) << answer.error().message;
  }
  std::ifstream file(trace);
  int opened = 0, received = 0;
  for (std::string line; std::getline(file, line);) {
    // "1234  openat(…": the process, and spaces up to a column.
    const std::string call = line.substr(line.find_first_not_of("0123456789 "));
    received += call.starts_with("recvmsg(3,");
    opened += call.starts_with("open");
    for (const char* forbidden : {"socket", "connect", "bind", "clone", "fork", "vfork", "unlink",
                                  "rename", "mkdir", "creat"}) {
      EXPECT_FALSE(call.starts_with(std::string(forbidden) + "(")) << call;
    }
    const bool is_contained = call.starts_with("openat2(") && call.contains("RESOLVE_BENEATH");
    if (call.starts_with("open")) {
      EXPECT_TRUE(is_contained || is_allowed(path_of(call), code)) << call;
      EXPECT_EQ(call.find("O_CREAT"), call.npos) << call;
    }
  }
  EXPECT_GT(opened, 3);  // That something was traced at all.
  EXPECT_GT(received, 1);
  fs::remove(trace);
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
