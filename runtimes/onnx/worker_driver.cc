#include "runtimes/onnx/worker_driver.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "base/check.h"
#include "wire/worker.h"

namespace dormouse::onnx {
namespace {

constexpr std::uint64_t result_bytes_max = 1 << 26;

wire::Descriptor memfd(std::string_view content, std::uint64_t offset, std::uint64_t size) {
  wire::Descriptor file(memfd_create("body", MFD_CLOEXEC));
  CHECK(file && ftruncate(file.number(), static_cast<off_t>(size)) == 0);
  CHECK(pwrite(file.number(), content.data(), content.size(), static_cast<off_t>(offset)) ==
        static_cast<ssize_t>(content.size()));
  return file;
}

Error error_of(const wire::Failure& failure) {
  return {failure.code, failure.message};
}

}  // namespace

std::string content(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

WorkerDriver::WorkerDriver(const std::filesystem::path& code, const std::filesystem::path& out,
                           std::vector<std::string> before) {
  int both[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, both) == 0);
  std::vector<std::string> words = std::move(before);
  words.insert(words.end(), {ONNX_WORKER, code.string(), out.string()});
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  process_ = fork();
  CHECK(process_ >= 0);
  if (process_ == 0) {
    if (both[1] == wire::worker_socket)
      fcntl(both[1], F_SETFD, 0);
    else
      dup2(both[1], wire::worker_socket);
    execvp(arguments[0], arguments.data());
    _exit(127);
  }
  close(both[1]);
  socket_ = wire::Descriptor(both[0]);
  const timeval patience{.tv_sec = 120};
  setsockopt(both[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  receiver_ = wire::FrameReceiver(both[0]);
  auto hello = wire::decode_hello(receive().payload);
  CHECK(hello);
  hello_ = *hello;
}

WorkerDriver::~WorkerDriver() {
  socket_ = wire::Descriptor();
  waitpid(process_, nullptr, 0);
}

wire::Frame WorkerDriver::receive() {
  auto frame = receiver_.receive();
  CHECK(frame);
  CHECK(*frame);
  return std::move(**frame);
}

void WorkerDriver::send(wire::Type type, std::string_view payload, std::vector<int> descriptors,
                        std::uint64_t handle) {
  std::string frame;
  wire::append_frame(frame, type, 0, handle, payload, descriptors.size());
  CHECK(wire::send_all(socket_.number(), frame, std::move(descriptors)));
}

Result<wire::Ready> WorkerDriver::load(wire::Options options) {
  send(wire::Type::load, wire::encode(wire::Load{std::move(options)}), {});
  const wire::Frame frame = receive();
  if (frame.header.type == wire::Type::ready) return wire::decode_ready(frame.payload);
  CHECK(frame.header.type == wire::Type::init_failed);
  return error_of(*wire::decode_failure(frame.payload));
}

Result<wire::Prepared> WorkerDriver::prepare(wire::Options options) {
  send(wire::Type::prepare, wire::encode(wire::Load{std::move(options)}), {});
  const wire::Frame frame = receive();
  if (frame.header.type == wire::Type::prepared) return wire::decode_prepared(frame.payload);
  CHECK(frame.header.type == wire::Type::init_failed);
  return error_of(*wire::decode_failure(frame.payload));
}

Result<Answered> WorkerDriver::invoke(const std::vector<Given>& inputs,
                                      std::vector<std::string> outputs, std::uint64_t body_offset) {
  wire::Item item;
  std::string body;
  item.content.is_tensors = true;
  for (const Given& input : inputs) {
    item.content.tensors.push_back({input.spec, body.size(), input.bytes.size()});
    body += input.bytes;
  }
  item.outputs = std::move(outputs);
  return send_item(std::move(item), body, body_offset);
}

Result<Answered> WorkerDriver::invoke_raw(std::string content_type, std::string_view body) {
  wire::Item item;
  item.content.content_type = std::move(content_type);
  return send_item(std::move(item), body, 0);
}

Result<Answered> WorkerDriver::send_item(wire::Item item, std::string_view body,
                                         std::uint64_t body_offset) {
  item.handle = 1;
  item.id = InvocationId::make({5}, {1, 2});
  item.body_size = body.size();
  item.has_body_memfd = body_offset > 0 || body.size() > wire::inline_body_bytes_max;
  item.body_offset = body_offset;
  item.result_bytes_max = result_bytes_max;
  wire::Descriptor large;
  std::vector<int> descriptors;
  if (item.has_body_memfd) {
    large = memfd(body, body_offset, body_offset + body.size());
    descriptors.push_back(large.number());
  } else {
    item.inline_body = body;
  }
  send(wire::Type::invoke, wire::encode(std::span(&item, 1)), std::move(descriptors));
  wire::Frame frame = receive();
  wire::Descriptor room;
  while (frame.header.type == wire::Type::ask_room) {
    room = memfd({}, 0, *wire::decode_ask_room(frame.payload));
    send(wire::Type::room, "", {room.number()}, frame.header.handle);
    frame = receive();
  }
  if (frame.header.type == wire::Type::failed) {
    return error_of(*wire::decode_failure(frame.payload));
  }
  CHECK(frame.header.type == wire::Type::result);
  const auto answer = wire::decode_answer(frame.payload);
  CHECK(answer);
  Answered answered{answer->content, std::string(answer->inline_body), answer->in_memfd};
  if (!answer->in_memfd) return answered;
  answered.body.resize(answer->body_size);
  CHECK(pread(room.number(), answered.body.data(), answered.body.size(), 0) ==
        static_cast<ssize_t>(answered.body.size()));
  return answered;
}

std::string WorkerDriver::status(std::string_view field) const {
  std::ifstream file("/proc/" + std::to_string(process_) + "/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(std::string(field) + ":")) {
      return line.substr(line.find_first_not_of("\t ", field.size() + 1));
    }
  }
  return "";
}

}  // namespace dormouse::onnx
