// What a worker says that is given an accelerator of which nothing comes. One that computes is
// tried in e2e/accelerator.test.mjs, where there is one.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <memory>
#include <string>

namespace dormouse::llm {
namespace {

struct Ran {
  int status;
  std::string said;
};

Ran worker_with(const std::string& accelerator) {
  const std::string command =
      std::string(LLM_WORKER) + " --accelerator " + accelerator + " 2>&1 </dev/null";
  FILE* const pipe = popen(command.c_str(), "re");
  std::array<char, 4096> text{};
  const std::size_t size = fread(text.data(), 1, text.size(), pipe);
  return {pclose(pipe), std::string(text.data(), size)};
}

TEST(Accelerator, ThatCannotBeLoadedEndsTheWorkerWithTheReason) {
  const Ran ran = worker_with("/nowhere/libggml-cuda.so");
  EXPECT_NE(ran.status, 0);
  EXPECT_TRUE(ran.said.starts_with("llm: ")) << ran.said;
  EXPECT_TRUE(ran.said.contains("/nowhere/libggml-cuda.so: cannot open")) << ran.said;
}

// The back end for any processor is a good one, and has nothing but the processor.
TEST(Accelerator, WithoutADeviceEndsTheWorker) {
  const Ran ran = worker_with(LLM_LIBRARIES "/libggml-cpu-x64.so");
  EXPECT_NE(ran.status, 0);
  EXPECT_EQ(ran.said, "llm: " LLM_LIBRARIES "/libggml-cpu-x64.so finds no device\n");
}

}  // namespace
}  // namespace dormouse::llm
