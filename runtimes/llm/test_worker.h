// A worker at the other end of a socket, without a daemon, for tests.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "wire/messages.h"
#include "wire/socket.h"
#include "wire/worker.h"

namespace dormouse::llm {

// The daemon's end of the wire.
class AtWire {
 public:
  explicit AtWire(int socket) : socket_(socket), receiver_(socket) {}

  struct Received {
    wire::Type type;
    std::uint64_t handle;
    std::string payload;
    std::uint16_t flags;
  };
  Received receive() {
    auto frame = receiver_.receive();
    CHECK(frame && *frame);
    const auto& header = (*frame)->header;
    return {header.type, header.handle, std::string((*frame)->payload), header.flags};
  }
  void send(wire::Type type, std::uint64_t handle, std::string_view payload) {
    std::string frame;
    wire::append_frame(frame, type, 0, handle, payload);
    CHECK(wire::send_all(socket_.number(), frame, {}));
  }
  void load(wire::Options options) {
    send(wire::Type::load, 0, wire::encode(wire::Load{std::move(options)}));
    ASSERT_EQ(receive().type, wire::Type::ready);
  }
  void invoke(std::uint64_t handle, std::string_view body) {
    wire::Item item{.handle = handle, .result_bytes_max = 1 << 20};
    item.content.content_type = "application/json";
    item.inline_body = body;
    item.body_size = body.size();
    send(wire::Type::invoke, handle, wire::encode(std::span(&item, 1)));
  }
  bool has_ended() {
    auto frame = receiver_.receive();
    return !frame && frame.error().code == Code::unavailable;
  }
  void leave() { socket_ = wire::Descriptor(); }

 private:
  wire::Descriptor socket_;
  wire::FrameReceiver receiver_;
};

class TestWorker : public AtWire {
 public:
  // `before`: a program that runs it, with its arguments.
  explicit TestWorker(std::vector<std::string> before = {}, std::string code = LLM_TESTDATA)
      : TestWorker(started(std::move(before), std::move(code))) {
    EXPECT_EQ(receive().type, wire::Type::hello);
  }
  ~TestWorker() { end(); }

  // Gives the status with which it ended.
  int end() {
    int status = 0;
    leave();
    if (process_ > 0) waitpid(std::exchange(process_, -1), &status, 0);
    return status;
  }

 private:
  struct Started {
    int socket;
    pid_t process;
  };

  explicit TestWorker(Started worker) : AtWire(worker.socket), process_(worker.process) {}

  static Started started(std::vector<std::string> before, std::string code) {
    int both[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, both) == 0);
    before.insert(before.end(), {LLM_WORKER, std::move(code)});
    const pid_t process = fork();
    if (process == 0) {
      fcntl(both[1], F_SETFD, 0);
      setenv("DORMOUSE_SOCKET", std::to_string(both[1]).c_str(), 1);
      std::vector<char*> arguments;
      for (std::string& each : before) arguments.push_back(each.data());
      arguments.push_back(nullptr);
      execvp(arguments.front(), arguments.data());
      _exit(127);
    }
    close(both[1]);
    return {both[0], process};
  }

  pid_t process_;
};

}  // namespace dormouse::llm
