#include "wire/worker.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>

#include "wire/mapping.h"
#include "wire/socket.h"

namespace dormouse::wire {
namespace {

// What a program makes may be more than it can say.
Result<> check_frame(std::string_view what, std::string_view payload) {
  if (payload.size() <= payload_bytes_max) return ok;
  return Error{Code::unsupported, std::string(what) + " take " + std::to_string(payload.size()) +
                                      " bytes, the limit is " + std::to_string(payload_bytes_max) +
                                      " (64 KiB)"};
}

class OneInvocation final : public Invocation {
 public:
  using AskRoom = std::function<Result<Descriptor>(std::uint64_t bytes)>;

  OneInvocation(Item item, Descriptor body, AskRoom ask_room)
      : item_(std::move(item)), ask_room_(std::move(ask_room)), body_(as_bytes(item_.inline_body)) {
    if (item_.body_size > 0) body_memfd_ = std::move(body);
  }

  Result<> map_body() {
    if (!body_memfd_) return ok;
    auto mapping = map(body_memfd_.number(), item_.body_offset + item_.body_size, PROT_READ);
    if (!mapping) return std::move(mapping).error();
    body_mapping_ = std::move(*mapping);
    body_ = Bytes(static_cast<const std::byte*>(body_mapping_.get()) + item_.body_offset,
                  item_.body_size);
    return ok;
  }

  const Item& item() const override { return item_; }
  Bytes body() const override { return body_; }

  Result<std::span<std::byte>> make_room(std::uint64_t size) override {
    CHECK(room_.empty() || size > room_.size());
    if (size > item_.result_bytes_max) {
      return Error{Code::function_failed, "the answer has " + std::to_string(size) +
                                              " bytes, the limit is " +
                                              std::to_string(item_.result_bytes_max)};
    }
    if (size <= inline_body_bytes_max) {
      small_.resize(size);
      room_ = std::as_writable_bytes(std::span(small_));
      return room_;
    }
    const auto mapped = map_room(size);
    if (!mapped) return mapped.error();
    return room_;
  }

  // Brings a body given as a string to where answers go.
  Result<> place(std::string_view body) {
    if (!room_.empty() || body.empty()) return ok;
    const auto room = make_room(body.size());
    if (!room) return room.error();
    std::ranges::copy(as_bytes(body), room->begin());
    return ok;
  }

  // The payload of `result`. A small body that has no room beside what describes it goes where
  // large ones do.
  Result<std::string> answer(Content content, std::uint64_t run_ns) {
    Answer answer{std::move(content)};
    answer.run_ns = run_ns;
    answer.body_size = room_.size();
    answer.in_memfd = in_memfd_;
    if (!in_memfd_) answer.inline_body = small_;
    std::string payload = encode(answer);
    if (payload.size() > payload_bytes_max && !answer.inline_body.empty()) {
      const auto mapped = map_room(small_.size());
      if (!mapped) return mapped.error();
      std::ranges::copy(as_bytes(small_), room_.begin());
      answer.in_memfd = true;
      payload = encode(answer);
    }
    const auto fits = check_frame("the names and shapes of the answer's tensors", payload);
    if (!fits) return fits.error();
    return payload;
  }

 private:
  Result<> map_room(std::uint64_t size) {
    const auto file = ask_room_(size);
    if (!file) return file.error();
    auto mapping = map(file->number(), size, PROT_READ | PROT_WRITE);
    if (!mapping) return std::move(mapping).error();
    result_mapping_ = std::move(*mapping);
    room_ = {static_cast<std::byte*>(result_mapping_.get()), size};
    in_memfd_ = true;
    return ok;
  }

  Item item_;
  AskRoom ask_room_;
  Descriptor body_memfd_;
  Bytes body_;
  std::shared_ptr<void> body_mapping_, result_mapping_;
  std::string small_;
  std::span<std::byte> room_;
  bool in_memfd_ = false;
};

class Server {
 public:
  Server(Program& program, int socket)
      : program_(program), socket_(socket), receiver_(socket, End::waiting_workers) {}

  int run() {
    if (!send(Type::hello, 0, encode(program_.hello()))) return 1;
    for (;;) {
      auto frame = next();
      if (!frame) return frame.error().code == Code::unavailable ? 0 : 2;
      const auto kept = obey(*frame);
      held_.reset();
      if (!kept) {
        std::fprintf(stderr, "worker: %s\n", kept.error().message.c_str());
        return 2;
      }
      if (!*kept) return 0;
    }
  }

 private:
  using End = FrameReceiver::End;

  Result<> send(Type type, std::uint64_t handle, std::string_view payload) {
    out_.clear();
    append_frame(out_, type, 0, handle, payload);
    return send_all(socket_, out_, {});
  }

  // The next frame: of those that came while room was asked for, or from the socket.
  Result<Frame> next() {
    if (!early_.empty()) {
      current_ = std::move(early_.front());
      early_.pop_front();
      return Frame{current_.header, current_.payload, std::move(current_.descriptors)};
    }
    auto frame = receiver_.receive();
    if (!frame) return std::move(frame).error();
    CHECK(*frame);  // The socket is blocking.
    return std::move(**frame);
  }

  // The daemon's memfd for the answer to `handle`.
  Result<Descriptor> ask_room(std::uint64_t handle, std::uint64_t bytes) {
    const auto asked = send(Type::ask_room, handle, encode_ask_room(bytes));
    if (!asked) return asked.error();
    if (!held_) {  // The invocation's body may lie in its buffer.
      FrameReceiver successor = receiver_.successor();
      held_ = std::exchange(receiver_, std::move(successor));
    }
    for (;;) {
      auto frame = receiver_.receive();
      if (!frame) return std::move(frame).error();
      CHECK(*frame);
      if ((*frame)->header.type == Type::room && (*frame)->header.handle == handle) {
        if (!(*frame)->descriptors.empty()) return std::move((*frame)->descriptors.front());
        return Error{Code::function_failed, "there is no room for the answer"};
      }
      early_.push_back(
          {(*frame)->header, std::string((*frame)->payload), std::move((*frame)->descriptors)});
    }
  }

  // False: drained. An Error: the daemon does not keep to the protocol, or is gone.
  Result<bool> obey(Frame& frame) {
    switch (frame.header.type) {
      case Type::load: return answered(load(frame));
      case Type::prepare: return answered(prepare(frame));
      case Type::invoke: return answered(invoke(frame));
      case Type::cancel: return true;  // It has ended already: one after the other.
      case Type::drain: return false;
      case Type::hello:
      case Type::prepared:
      case Type::ready:
      case Type::init_failed:
      case Type::body:
      case Type::chunk:
      case Type::result:
      case Type::failed:
      case Type::credit:
      case Type::log:
      case Type::call:
      case Type::answer:
      case Type::fork:
      case Type::forked:
      case Type::go:
      case Type::stats:
      case Type::ask_room:
      case Type::room:
      case Type::keep:
      case Type::state:
      case Type::context: break;
    }
    return Error{Code::invalid_argument, "a frame that this worker does not take"};
  }

  static Result<bool> answered(Result<> sent) {
    if (!sent) return std::move(sent).error();
    return true;
  }

  Result<> load(const Frame& frame) {
    const auto options = decode_load(frame.payload);
    if (!options) return options.error();
    const auto ready = program_.load(*options);
    if (!ready) return send(Type::init_failed, 0, encode(failure(ready.error())));
    const std::string payload = encode(*ready);
    const auto fits =
        check_frame("the names and shapes of the model's inputs and outputs", payload);
    if (!fits) return send(Type::init_failed, 0, encode(failure(fits.error())));
    const auto sent = send(Type::ready, 0, payload);
    const auto wanted = options->options.find("template");
    const bool forks = wanted != options->options.end() && wanted->second == "yes" &&
                       !ready->notes.contains("template");
    if (!sent || !forks) return sent;
    return live_as_fork();
  }

  Result<> live_as_fork() {
    const auto forked = program_.fork_instances(socket_);
    if (!forked) return forked;
    receiver_ = FrameReceiver(socket_, End::waiting_workers);
    const auto sent = send(Type::ready, monotonic_us(), encode(Ready{}));
    if (sent && is_quiet()) program_.rehearse();
    return sent;
  }

  // A fork that is made for a call gets it at once.
  bool is_quiet() const {
    constexpr int patience_ms = 3;
    pollfd readable{socket_, POLLIN, 0};
    return poll(&readable, 1, patience_ms) == 0;
  }

  Result<> prepare(const Frame& frame) {
    const auto options = decode_load(frame.payload);
    if (!options) return options.error();
    const auto prepared = program_.prepare(*options);
    if (!prepared) return send(Type::init_failed, 0, encode(failure(prepared.error())));
    const std::string payload = encode(*prepared);
    const auto fits = check_frame("the notes on what was prepared", payload);
    if (!fits) return send(Type::init_failed, 0, encode(failure(fits.error())));
    return send(Type::prepared, 0, payload);
  }

  Result<> invoke(Frame& frame) {
    auto items = decode_items(frame.payload);
    if (!items) return std::move(items).error();
    std::size_t taken = 0;
    for (Item& item : *items) {
      if (item.has_body_memfd && taken == frame.descriptors.size()) {
        return Error{Code::invalid_argument, "an invocation without the memfd of its body"};
      }
      Descriptor body = item.has_body_memfd ? std::move(frame.descriptors[taken++]) : Descriptor();
      const std::uint64_t handle = item.handle;
      OneInvocation invocation(
          std::move(item), std::move(body),
          [this, handle](std::uint64_t bytes) { return ask_room(handle, bytes); });
      const auto sent = run_one(invocation);
      if (!sent) return sent.error();
    }
    return ok;
  }

  Result<> run_one(OneInvocation& invocation) {
    const auto began = std::chrono::steady_clock::now();
    const std::uint64_t handle = invocation.item().handle;
    const auto mapped = invocation.map_body();
    if (!mapped) return send(Type::failed, handle, encode(failure(mapped.error())));
    auto reply = program_.invoke(invocation);
    if (!reply) return send(Type::failed, handle, encode(failure(reply.error())));
    const auto placed = invocation.place(reply->body);
    if (!placed) return send(Type::failed, handle, encode(failure(placed.error())));
    const auto took = std::chrono::steady_clock::now() - began;
    const auto ns = static_cast<std::uint64_t>(std::chrono::nanoseconds(took).count());
    const auto answer = invocation.answer(std::move(reply->content), ns);
    if (!answer) return send(Type::failed, handle, encode(failure(answer.error())));
    return send(Type::result, handle, *answer);
  }

  static Failure failure(const Error& error) { return {error.code, error.message}; }

  struct Early {
    Header header;
    std::string payload;
    std::vector<Descriptor> descriptors;
  };

  Program& program_;
  int socket_;
  FrameReceiver receiver_;
  std::optional<FrameReceiver> held_;
  std::deque<Early> early_;
  Early current_;
  std::string out_;
};

}  // namespace

int given_socket() {
  const char* said = std::getenv("DORMOUSE_SOCKET");
  return said == nullptr ? worker_socket : std::atoi(said);
}

std::uint64_t monotonic_us() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(now).count());
}

Result<> Program::fork_instances(int) {
  return Error{Code::unsupported, "this program does not fork"};
}

int serve(Program& program, int socket) {
  return Server(program, socket).run();
}

}  // namespace dormouse::wire
