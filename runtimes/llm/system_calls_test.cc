// What the worker does to the system, as strace sees it: no sockets, and no thread but the one that
// a fork would have.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "wire/messages.h"
#include "wire/socket.h"
#include "wire/worker.h"

namespace dormouse::llm {
namespace {

namespace fs = std::filesystem;

// The worker under strace, at the other end of a socket.
class Traced {
 public:
  explicit Traced(const fs::path& trace) {
    int both[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, both) == 0);
    process_ = fork();
    if (process_ == 0) {
      fcntl(both[1], F_SETFD, 0);
      setenv("DORMOUSE_SOCKET", std::to_string(both[1]).c_str(), 1);
      execlp("strace", "strace", "-f", "-qq", "-e", "trace=%network,clone,clone3,creat,unlink",
             "-o", trace.c_str(), LLM_WORKER, LLM_TESTDATA, nullptr);
      _exit(127);
    }
    close(both[1]);
    socket_ = wire::Descriptor(both[0]);
    receiver_ = wire::FrameReceiver(both[0]);
    EXPECT_EQ(receive().first, wire::Type::hello);
  }
  ~Traced() {
    socket_ = wire::Descriptor();
    waitpid(process_, nullptr, 0);
  }

  std::pair<wire::Type, std::string> receive() {
    auto frame = receiver_.receive();
    CHECK(frame && *frame);
    return {(*frame)->header.type, std::string((*frame)->payload)};
  }
  void send(wire::Type type, std::uint64_t handle, std::string_view payload) {
    std::string frame;
    wire::append_frame(frame, type, 0, handle, payload);
    CHECK(wire::send_all(socket_.number(), frame, {}));
  }

 private:
  wire::Descriptor socket_;
  wire::FrameReceiver receiver_{-1};
  pid_t process_ = -1;
};

TEST(SystemCalls, OpenNoSocketAndStartNoThread) {
  const fs::path trace = fs::temp_directory_path() / ("llm_trace." + std::to_string(getpid()));
  {
    Traced worker(trace);
    worker.send(wire::Type::load, 0,
                wire::encode(wire::Load{{{"model", "llama.gguf"}, {"threads", "1"}}}));
    ASSERT_EQ(worker.receive().first, wire::Type::ready);
    wire::Item item{.handle = 1, .result_bytes_max = 1 << 20};
    item.content.content_type = "application/json";
    item.inline_body = R"({"messages":[{"role":"user","content":"Hello"}],"max_tokens":3})";
    item.body_size = item.inline_body.size();
    worker.send(wire::Type::invoke, 1, wire::encode(std::span(&item, 1)));
    EXPECT_EQ(worker.receive().first, wire::Type::stats);
    const auto [type, payload] = worker.receive();
    ASSERT_EQ(type, wire::Type::result);
    EXPECT_TRUE(wire::decode_answer(payload)->inline_body.contains("chat.completion"));
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
