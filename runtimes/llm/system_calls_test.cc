// What the worker does to the system, as strace sees it: no sockets, and no thread but the one that
// a fork would have.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "runtimes/llm/test_worker.h"

namespace dormouse::llm {
namespace {

namespace fs = std::filesystem;

TEST(SystemCalls, OpenNoSocketAndStartNoThread) {
  const fs::path trace = fs::temp_directory_path() / ("llm_trace." + std::to_string(getpid()));
  {
    TestWorker worker({"strace", "-f", "-qq", "-e", "trace=%network,clone,clone3,creat,unlink",
                       "-o", trace.string()});
    worker.load({{"model", "llama.gguf"}, {"threads", "1"}});
    worker.invoke(1, R"({"messages":[{"role":"user","content":"Hello"}],"max_tokens":3})");
    EXPECT_EQ(worker.receive().type, wire::Type::stats);
    const auto answer = worker.receive();
    ASSERT_EQ(answer.type, wire::Type::result);
    EXPECT_TRUE(wire::decode_answer(answer.payload)->inline_body.contains("chat.completion"));
  }
  std::ifstream file(trace);
  int pairs = 0;
  for (std::string line; std::getline(file, line);) {
    const std::string call = line.substr(line.find_first_not_of("0123456789 "));
    pairs += call.starts_with("socketpair(AF_UNIX");  // To the process that renders chats.
    for (const char* forbidden : {"socket", "connect", "bind", "listen", "creat", "unlink"}) {
      EXPECT_FALSE(call.starts_with(std::string(forbidden) + "(")) << call;
    }
    EXPECT_FALSE(call.starts_with("clone") && call.contains("CLONE_THREAD")) << call;
  }
  EXPECT_GT(pairs, 0);  // That something was traced at all.
  fs::remove(trace);
}

}  // namespace
}  // namespace dormouse::llm
