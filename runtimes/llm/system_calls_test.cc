// What the worker does to the system, as strace sees it: no sockets, no files but those that it is
// given, and no thread but the one that a fork would have.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "runtimes/llm/test_worker.h"

namespace dormouse::llm {
namespace {

namespace fs = std::filesystem;

constexpr const char* traced_calls = "trace=%file,%network,%process";

struct Call {
  std::string process;
  std::string text;  // `openat(AT_FDCWD, "/x", …`

  bool is(std::string_view name) const { return text.starts_with(std::string(name) + "("); }
  // Empty if the call names none.
  std::string path() const {
    const std::size_t begin = text.find('"');
    return begin == text.npos ? "" : text.substr(begin + 1, text.find('"', begin + 1) - begin - 1);
  }
  bool only_reads() const {
    return !text.contains("O_WRONLY") && !text.contains("O_RDWR") && !text.contains("O_CREAT");
  }
};

class SystemCalls : public testing::Test {
 protected:
  void TearDown() override { fs::remove(trace); }

  // Where a call takes up two lines, the first says what it is. `???` was ended before it was one.
  std::vector<Call> calls() const {
    std::vector<Call> all;
    std::ifstream file(trace);
    for (std::string line; std::getline(file, line);) {
      std::istringstream words(line);
      Call call;
      words >> call.process >> std::ws;
      std::getline(words, call.text);
      if (std::islower(static_cast<unsigned char>(call.text.front())) != 0) {
        all.push_back(std::move(call));
      }
    }
    return all;
  }

  // Of a worker that answers `body`.
  std::vector<Call> calls_for(const std::string& model, std::string_view body,
                              std::string_view answered) {
    TestWorker worker({"strace", "-f", "-qq", "-e", traced_calls, "-o", trace.string()});
    worker.load({{"model", model}, {"threads", "1"}});
    worker.invoke(1, body);
    auto answer = worker.receive();
    while (answer.type == wire::Type::stats) answer = worker.receive();
    EXPECT_EQ(answer.type, wire::Type::result);
    EXPECT_TRUE(wire::decode_answer(answer.payload)->inline_body.contains(answered));
    worker.end();
    return calls();
  }

  const fs::path trace = fs::temp_directory_path() / ("llm_trace." + std::to_string(getpid()));
};

// Shared objects, the revision, and what there is to know about this machine and process.
bool is_allowed(const std::string& path) {
  for (const char* begin :
       {LLM_TESTDATA, LLM_LIBRARIES, "/proc/self/", "/proc/cpuinfo", "/sys/devices/system/cpu/",
        "/etc/ld.so.", "/etc/localtime", "/usr/share/zoneinfo/"}) {
    if (path.starts_with(begin)) return true;
  }
  return path.contains(".so");
}

void expect_contained(const std::vector<Call>& calls) {
  int opened = 0, started = 0;
  for (const Call& call : calls) {
    for (const char* forbidden : {"socket", "connect", "bind", "listen", "accept4", "creat",
                                  "unlink", "unlinkat", "rename", "mkdir", "mkdirat", "truncate"}) {
      EXPECT_FALSE(call.is(forbidden)) << call.text;
    }
    started += call.is("execve");
    EXPECT_FALSE(call.text.starts_with("clone") && call.text.contains("CLONE_THREAD")) << call.text;
    if (!call.text.starts_with("open")) continue;
    ++opened;
    EXPECT_TRUE(is_allowed(call.path()) && call.only_reads()) << call.text;
  }
  EXPECT_GT(opened, 3);  // That something was traced at all.
  EXPECT_EQ(started, 1);
}

TEST_F(SystemCalls, OpenNoSocketAndStartNoThread) {
  const auto calls =
      calls_for("llama.gguf", R"({"messages":[{"role":"user","content":"Hello"}],"max_tokens":3})",
                "chat.completion");
  expect_contained(calls);
  const auto pairs =
      std::ranges::count_if(calls, [](const Call& call) { return call.is("socketpair"); });
  EXPECT_EQ(pairs,
            2);  // To the process that tries the model's template, and to the one that uses it.
}

TEST_F(SystemCalls, OfAnEmbeddingMakeNoProcessEither) {
  const auto calls = calls_for("bert.gguf", R"({"input":"one mouse"})", "embedding");
  expect_contained(calls);
  for (const Call& call : calls) {
    EXPECT_FALSE(call.is("socketpair") || call.text.starts_with("clone")) << call.text;
  }
}

// What renders chats may hear and answer, end, ask how much memory it has and what time it is.
bool may_render(const Call& call) {
  if (call.is("openat") || call.is("newfstatat")) {
    return call.only_reads() &&
           (call.path().empty() || call.path() == "/proc/self/statm" ||
            call.path() == "/etc/localtime" || call.path().starts_with("/usr/share/zoneinfo/"));
  }
  // By which it was ended: strace may take it for its own.
  const bool is_its_end = call.text == "kill(" + call.process + ", SIGKILL <unfinished ...>";
  return is_its_end || call.is("recvfrom") || call.is("sendto") || call.is("exit_group");
}

TEST_F(SystemCalls, OfATemplateOpenNothingAndStartNothing) {
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
  GTEST_SKIP() << "a sanitizer opens and starts what it likes when a process crashes";
#endif
  const std::string command = "strace -f -qq --seccomp-bpf -e " + std::string(traced_calls) +
                              " -o " + trace.string() + " " +
                              fs::read_symlink("/proc/self/exe").string() +
                              " --gtest_filter='Rendered.RunsNothing*:Rendered.*WhatHasNoEnd' 2>&1";
  FILE* const pipe = popen(command.c_str(), "re");
  while (fgetc(pipe) != EOF) {
  }
  EXPECT_EQ(pclose(pipe), 0);
  const auto calls = this->calls();
  ASSERT_FALSE(calls.empty());
  std::set<std::string> rendering;
  for (const Call& call : calls) {
    if (call.process == calls.front().process) continue;
    rendering.insert(call.process);
    EXPECT_TRUE(may_render(call)) << call.text;
  }
  EXPECT_GE(rendering.size(), 90U);  // One for each template.
}

}  // namespace
}  // namespace dormouse::llm
