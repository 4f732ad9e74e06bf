// Tests only: the worker as the daemon sees it, a process at the other end of a socket.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "wire/messages.h"
#include "wire/socket.h"

namespace dormouse::onnx {

// An answer, its body beside it.
struct Answered {
  wire::Content content;
  std::string body;
  bool in_memfd = false;
};

struct Given {
  wire::TensorSpec spec;
  std::string bytes;
};

template <class T>
std::string raw(std::initializer_list<T> values) {
  std::string out;
  for (const T value : values) out.append(reinterpret_cast<const char*>(&value), sizeof value);
  return out;
}

std::string content(const std::filesystem::path&);  // Of a file.

class WorkerDriver {
 public:
  // `before` goes in front of the worker's command line: strace and its options.
  explicit WorkerDriver(const std::filesystem::path& code, const std::filesystem::path& out = "/",
                        std::vector<std::string> before = {});
  ~WorkerDriver();  // Says drain, and waits.

  const wire::Hello& hello() const { return hello_; }
  int process() const { return process_; }
  Result<wire::Ready> load(wire::Options);
  Result<wire::Prepared> prepare(wire::Options);
  Result<Answered> invoke(const std::vector<Given>&, std::vector<std::string> outputs = {},
                          std::uint64_t body_offset = 0);
  Result<Answered> invoke_raw(std::string content_type, std::string_view body);

  // In the process's status: "Threads", "VmRSS".
  std::string status(std::string_view field) const;

 private:
  wire::Frame receive();
  void send(wire::Type, std::string_view payload, std::vector<int> descriptors,
            std::uint64_t handle = 0);
  Result<Answered> send_item(wire::Item, std::string_view body, std::uint64_t body_offset);

  wire::Descriptor socket_;
  wire::FrameReceiver receiver_{-1};
  wire::Hello hello_;
  int process_ = -1;
};

}  // namespace dormouse::onnx
