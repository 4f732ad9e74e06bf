// What only shows at a worker: several calls under way, what it announces, and its end.
#include "runtimes/llm/server.h"

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "base/bytes.h"
#include "runtimes/llm/test_worker.h"

namespace dormouse::llm {
namespace {

namespace fs = std::filesystem;

std::string content(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(Server, MakesVectorsOfAllCallsInTurns) {
  TestWorker worker;
  worker.load({{"model", "bert.gguf"}, {"threads", "1"}});
  std::string many = R"({"encoding_format":"base64","dimensions":1,"input":["a mouse")";
  for (int i = 0; i < 500; ++i) many += R"(,"a mouse")";
  worker.invoke(1, many + "]}");
  for (std::uint64_t one = 2; one < 5; ++one) worker.invoke(one, R"({"input":"a mouse"})");
  std::vector<std::uint64_t> answered;
  while (answered.size() < 4) {
    const auto frame = worker.receive();
    ASSERT_NE(frame.type, wire::Type::failed);
    if (frame.type != wire::Type::stats) answered.push_back(frame.handle);
  }
  EXPECT_EQ(answered, (std::vector<std::uint64_t>{2, 3, 4, 1}));
}

// A worker on a thread of this program's own.
class Announcing : public testing::Test {
 protected:
  void serve_after(std::chrono::nanoseconds announces_after) {
    int both[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, both) == 0);
    theirs_ = wire::Descriptor(both[1]);
    worker_ = std::jthread(
        [socket = both[1], announces_after] { serve(socket, LLM_TESTDATA, announces_after); });
    wire_.emplace(both[0]);
    ASSERT_EQ(wire_->receive().type, wire::Type::hello);
    wire_->load({{"model", "llama.gguf"}, {"threads", "1"}, {"concurrency", "2"}});
  }
  ~Announcing() override {
    if (wire_) wire_->leave();
  }

  void stream(std::uint64_t handle) {
    wire_->invoke(handle, R"({"model":"m","prompt":"a mouse","max_tokens":8,"stream":true,)"
                          R"("ignore_eos":true,"temperature":0})");
  }
  // How often counts come once more before a token that they do not count yet, until so many
  // streams have ended.
  int announcements(int streams) {
    std::map<std::uint64_t, std::string> counted;
    int found = 0;
    while (streams > 0) {
      const auto frame = wire_->receive();
      EXPECT_NE(frame.type, wire::Type::failed) << frame.payload;
      if (frame.type == wire::Type::failed) return -1;
      if (frame.type == wire::Type::chunk && (frame.flags & wire::flag_end) != 0) --streams;
      if (frame.type != wire::Type::stats) continue;
      found += std::exchange(counted[frame.handle], frame.payload) == frame.payload ? 1 : 0;
    }
    return found;
  }

  wire::Descriptor theirs_;
  std::jthread worker_;
  std::optional<AtWire> wire_;
};

// The first token's counts are not known before it; those of the last come again at the end.
TEST_F(Announcing, ATokenOfAStream) {
  serve_after(std::chrono::nanoseconds(0));
  stream(1);
  EXPECT_EQ(announcements(1), 7 + 1);
}

TEST_F(Announcing, OneOfAllStreamsInAStep) {
  serve_after(std::chrono::nanoseconds(0));
  stream(1);
  stream(2);
  EXPECT_LE(announcements(2), 8 + 2);
}

TEST_F(Announcing, NoneThatIsSoonThere) {
  serve_after(std::chrono::hours(1));
  stream(1);
  EXPECT_EQ(announcements(1), 1);
}

// M7. Sound as a file, but without a layer, at which llama.cpp aborts.
std::string model_that_crashes() {
  std::string key = "llama.block_count", none = key;
  for (std::string* each : {&key, &none}) put(*each, std::uint32_t{4});  // It is a 32-bit number.
  put(key, std::uint32_t{2});
  put(none, std::uint32_t{0});
  std::string model = content(fs::path(LLM_TESTDATA) / "llama.gguf");
  return model.replace(model.find(key), key.size(), none);
}

TEST(Server, SaysWhyLastWhereItsModelEndsIt) {
  const fs::path folder = fs::temp_directory_path() / ("llm_crash." + std::to_string(getpid()));
  const fs::path said = folder / "said";
  fs::create_directories(folder);
  std::ofstream(folder / "model.gguf", std::ios::binary) << model_that_crashes();
  TestWorker worker({"sh", "-c", "exec \"$0\" \"$@\" 2>" + said.string()}, folder);
  worker.send(wire::Type::load, 0, wire::encode(wire::Load{{{"model", "model.gguf"}}}));
  EXPECT_TRUE(worker.has_ended());
  const int status = worker.end();
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) << status;
  const std::string last = content(said);
  EXPECT_TRUE(last.starts_with("llama.cpp gave up: llama-model.cpp:")) << last;
  EXPECT_TRUE(last.ends_with(" failed\n")) << last;
  EXPECT_EQ(std::ranges::count(last, '\n'), 1);
  fs::remove_all(folder);
}

}  // namespace
}  // namespace dormouse::llm
