// Workers for the fleet's tests, as functions on a thread: one well-behaved, the others not.
#pragma once

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "wire/messages.h"
#include "wire/socket.h"
#include "wire/worker.h"

namespace dormouse::fleet {

// Says what it is told, and misbehaves when told to.
class Speaker final : public wire::Program {
 public:
  wire::Hello hello() override { return {wire::version, "speaker", "1"}; }
  Result<wire::Prepared> prepare(const wire::Load&) override { return wire::Prepared{}; }
  Result<wire::Ready> load(const wire::Load& load) override {
    const auto failing = load.options.find("env.FAIL");
    if (failing != load.options.end()) return Error{Code::function_failed, failing->second};
    return wire::Ready{{}, "speaker", {}};
  }
  Result<wire::Reply> invoke(wire::Invocation& invocation) override {
    const std::string said(as_text(invocation.body()));
    if (said == "fail") return Error{Code::invalid_argument, "I do not like it"};
    if (said == "slow") usleep(300'000);
    return wire::Reply{.content = {.content_type = "text/plain"}, .body = "said: " + said};
  }
};

inline void speak(int socket) {
  Speaker speaker;
  wire::serve(speaker, socket);
}

// Speaks frames itself.
class Talker {
 public:
  explicit Talker(int socket) : socket_(socket), receiver_(socket) {
    say(wire::Type::hello, 0, wire::encode(wire::Hello{wire::version, "talker", "1"}));
  }
  int socket() const { return socket_; }
  void say(wire::Type type, std::uint64_t handle, std::string_view payload,
           std::uint16_t flags = 0) {
    std::string out;
    wire::append_frame(out, type, flags, handle, payload);
    (void)wire::send_all(socket_, out, {});
  }
  // At once: nothing happens between the two.
  void say_twice(wire::Type type, std::uint64_t handle, std::string_view payload) {
    std::string out;
    for (int i = 0; i < 2; ++i) wire::append_frame(out, type, 0, handle, payload);
    (void)wire::send_all(socket_, out, {});
  }
  // Answers `load`; false when the fleet is gone.
  bool load() {
    const auto frame = receiver_.receive();
    if (!frame || !*frame) return false;
    say(wire::Type::ready, 0, wire::encode(wire::Ready{}));
    return true;
  }
  // The next frame after `load`, which it answers; nullopt when the fleet is gone.
  std::optional<wire::Frame> hear() {
    for (;;) {
      auto frame = receiver_.receive();
      if (!frame || !*frame) return std::nullopt;
      if ((*frame)->header.type != wire::Type::load) return std::move(*frame);
      say(wire::Type::ready, 0, wire::encode(wire::Ready{}));
    }
  }

 private:
  int socket_;
  wire::FrameReceiver receiver_;
};

// Says that its revision's files are wrong, as it may when it is deployed.
inline void find_no_model(int socket) {
  Talker talker(socket);
  (void)wire::FrameReceiver(socket).receive();
  const wire::Failure failure{Code::invalid_argument, "the model is gone"};
  talker.say(wire::Type::init_failed, 0, wire::encode(failure));
}

// Answers every call with what its client said of itself before.
inline void tell_context(int socket) {
  Talker talker(socket);
  std::map<std::uint64_t, std::string> said;
  while (const auto frame = talker.hear()) {
    if (frame->header.type == wire::Type::context) said[frame->header.handle] = frame->payload;
    if (frame->header.type != wire::Type::invoke) continue;
    const auto items = wire::decode_items(frame->payload);
    wire::Answer answer;
    answer.inline_body = said[items->front().handle];
    answer.body_size = answer.inline_body.size();
    talker.say(wire::Type::result, items->front().handle, wire::encode(answer));
  }
}

// Answers every call with the handle of another.
inline void lie(int socket) {
  Talker talker(socket);
  while (const auto frame = talker.hear()) {
    if (frame->header.type == wire::Type::invoke) {
      talker.say(wire::Type::result, 9'999, wire::encode(wire::Answer{}));
    }
  }
}

// Answers every call; told "lie", then also one that it was not given.
inline void answer_and_lie(int socket) {
  Talker talker(socket);
  while (const auto frame = talker.hear()) {
    if (frame->header.type != wire::Type::invoke) continue;
    const auto items = wire::decode_items(frame->payload);
    talker.say(wire::Type::result, items->front().handle, wire::encode(wire::Answer{}));
    if (items->front().inline_body != "lie") continue;
    talker.say(wire::Type::result, 9'999, wire::encode(wire::Answer{}));
    usleep(20'000);  // A liar may be slow to die.
  }
}

// Answers the fleet's first call although it was not sent to it, or ends while that runs.
inline void answer_uninvited(int socket) {
  Talker talker(socket);
  if (talker.load()) usleep(50'000);
  talker.say(wire::Type::result, 1, wire::encode(wire::Answer{}));
  while (talker.hear()) {
  }
}
inline void die_after_load(int socket) {
  Talker talker(socket);
  if (talker.load()) usleep(50'000);
}

// Ends once it waits to be told what to become, or when it is told.
inline void die_blank(int socket) {
  Talker talker(socket);
}
inline void die_at_load(int socket) {
  Talker talker(socket);
  (void)wire::FrameReceiver(socket).receive();
}

// Asks for room as it may not: twice, for another's call, or for more than an answer may have.
inline void ask_too_much(int socket) {
  Talker talker(socket);
  while (const auto frame = talker.hear()) {
    if (frame->header.type != wire::Type::invoke) continue;
    const auto items = wire::decode_items(frame->payload);
    const std::string_view how = items->front().inline_body;
    const std::uint64_t handle = how == "another's" ? 9'999 : items->front().handle;
    const std::uint64_t bytes = how == "too much" ? items->front().result_bytes_max + 1 : 100'000;
    talker.say(wire::Type::ask_room, handle, wire::encode_ask_room(bytes));
    if (how == "for no more")
      talker.say(wire::Type::ask_room, handle, wire::encode_ask_room(bytes));
    for (std::uint64_t more = 1; how == "thrice" && more < 3; ++more) {
      talker.say(wire::Type::ask_room, handle, wire::encode_ask_room(bytes + more));
    }
    if (how == "overfull") {
      wire::Answer answer;
      answer.in_memfd = true;
      answer.body_size = bytes + 1;
      talker.say(wire::Type::result, handle, wire::encode(answer));
    }
  }
}

inline ino_t inode_of(int descriptor) {
  struct stat found{};
  CHECK(fstat(descriptor, &found) == 0);
  return found.st_ino;
}

// Answers with the inodes of the memfds that it got the body in and writes this answer to.
inline void tell_inodes(int socket) {
  Talker talker(socket);
  std::string told;
  while (const auto frame = talker.hear()) {
    if (frame->header.type == wire::Type::invoke) {
      told = std::to_string(inode_of(frame->descriptors.front().number())) + " ";
      const auto items = wire::decode_items(frame->payload);
      talker.say(wire::Type::ask_room, items->front().handle, wire::encode_ask_room(100'000));
    } else if (frame->header.type == wire::Type::room) {
      const int room = frame->descriptors.front().number();
      told += std::to_string(inode_of(room)) + " ";
      CHECK(pwrite(room, told.data(), told.size(), 0) == std::ssize(told));
      wire::Answer answer;
      answer.in_memfd = true;
      answer.body_size = 100'000;
      talker.say(wire::Type::result, frame->header.handle, wire::encode(answer));
    }
  }
}

// A fork, after it was put into its slot: answers every call with who it is; "die" ends it. One
// that `hangs` says nothing from `go` on.
inline void live_as_fork(const wire::Descriptor& socket, int number, bool hangs) {
  const auto say = [&](wire::Type type, std::uint64_t handle, std::string_view payload) {
    std::string out;
    wire::append_frame(out, type, 0, handle, payload);
    (void)wire::send_all(socket.number(), out, {});
  };
  say(wire::Type::forked, 0, "");
  wire::FrameReceiver receiver(socket.number());
  for (auto frame = receiver.receive(); frame && *frame; frame = receiver.receive()) {
    if (hangs) continue;
    if ((*frame)->header.type == wire::Type::go)
      say(wire::Type::ready, 0, wire::encode(wire::Ready{}));
    if ((*frame)->header.type == wire::Type::drain) break;
    if ((*frame)->header.type != wire::Type::invoke) continue;
    const auto items = wire::decode_items((*frame)->payload);
    if (items->front().inline_body == "die") break;
    if (items->front().inline_body == "ready again") {
      say(wire::Type::ready, 1, wire::encode(wire::Ready{}));
    }
    wire::Answer answer;
    const std::string text = "fork " + std::to_string(number);
    answer.inline_body = text;
    answer.body_size = text.size();
    say(wire::Type::result, items->front().handle, wire::encode(answer));
  }
  shutdown(socket.number(), SHUT_RDWR);
}

// A template: forks are threads. `fall` makes it end before its next fork.
inline void be_template(int socket, std::atomic<bool>* fall, std::atomic<int>* forks, bool hang) {
  Talker talker(socket);
  std::vector<std::thread> children;
  while (auto frame = talker.hear()) {
    if (frame->header.type != wire::Type::fork) continue;
    if (fall->exchange(false)) break;
    auto inner = std::make_shared<wire::Descriptor>(std::move(frame->descriptors.front()));
    const int number = ++*forks;
    children.emplace_back([inner, number, hang] { live_as_fork(*inner, number, hang); });
  }
  shutdown(socket, SHUT_RDWR);
  for (auto& child : children) child.join();
}

// A template as a test has it in hand.
struct Family {
  std::atomic<bool> fall = false;
  std::atomic<int> forks = 0;
  bool forks_hang = false;
  std::function<void(int)> program() {
    return [this](int socket) { be_template(socket, &fall, &forks, forks_hang); };
  }
};

// "INIT=2 template=yes": what a worker was told with a frame, but for the time that it has.
inline std::string told_by(const wire::Frame& frame) {
  std::string text;
  if (frame.payload.empty()) return text;
  for (const auto& [key, value] : wire::decode_load(frame.payload)->options) {
    if (key.ends_with("_ms")) continue;
    const bool is_variable = key.starts_with("env.");
    text += " " + (is_variable ? key.substr(4) : key) + "=" + value;
  }
  return text;
}

// Answers every call with what it was told, as it was loaded and, if it is a fork, as it began;
// "slow" takes longer. As a template it forks by threads. `ends` is asked with each frame whether
// it ends of it.
using Ends = std::function<bool(int socket, const wire::Frame&)>;
inline void confide_as(int socket, std::string told, const Ends& ends = nullptr) {
  const auto say = [&](wire::Type type, std::uint64_t handle, std::string_view payload) {
    std::string out;
    wire::append_frame(out, type, 0, handle, payload);
    (void)wire::send_all(socket, out, {});
  };
  std::vector<std::thread> children;
  wire::FrameReceiver receiver(socket);
  for (auto frame = receiver.receive(); frame && *frame; frame = receiver.receive()) {
    const wire::Type type = (*frame)->header.type;
    if (type == wire::Type::drain || (ends && ends(socket, **frame))) break;
    if (type == wire::Type::load) told = "load:" + told_by(**frame);
    if (type == wire::Type::go) told += "; go:" + told_by(**frame);
    if (type == wire::Type::load || type == wire::Type::go) {
      say(wire::Type::ready, 0, wire::encode(wire::Ready{}));
    }
    if (type == wire::Type::fork) {
      auto inner = std::make_shared<wire::Descriptor>(std::move((*frame)->descriptors.front()));
      children.emplace_back([inner, told] {
        std::string out;
        wire::append_frame(out, wire::Type::forked, 0, 0, "");
        (void)wire::send_all(inner->number(), out, {});
        confide_as(inner->number(), told);
      });
    }
    if (type != wire::Type::invoke) continue;
    const auto items = wire::decode_items((*frame)->payload);
    if (items->front().inline_body == "slow") usleep(300'000);
    wire::Answer answer;
    answer.inline_body = told;
    answer.body_size = told.size();
    say(wire::Type::result, items->front().handle, wire::encode(answer));
  }
  shutdown(socket, SHUT_RDWR);
  for (auto& child : children) child.join();
}
inline void confide_until(int socket, const Ends& ends) {
  std::string out;
  wire::append_frame(out, wire::Type::hello, 0, 0,
                     wire::encode(wire::Hello{wire::version, "c", "1"}));
  (void)wire::send_all(socket, out, {});
  confide_as(socket, "", ends);
}
inline void confide(int socket) {
  confide_until(socket, nullptr);
}

// Takes the first call with it into its grave.
inline void die(int socket) {
  Talker(socket).hear();
}

// Answers every call with as many kibibytes as it is told, in chunks, as far as it has credit; but
// told 999, it goes beyond.
class Streamer {
 public:
  explicit Streamer(int socket) : talker_(socket) {
    while (const auto frame = talker_.hear()) obey(*frame);
  }

 private:
  struct Call {
    std::int64_t kibibytes_left = 0, credit = 0;
  };

  void obey(const wire::Frame& frame) {
    const std::uint64_t handle = frame.header.handle;
    if (frame.header.type == wire::Type::invoke) return begin(frame);
    if (frame.header.type == wire::Type::credit) {
      calls_[handle].credit += *wire::decode_credit(frame.payload);
      pour(handle);
    } else if (frame.header.type == wire::Type::cancel) {
      calls_.erase(handle);
      talker_.say(wire::Type::failed, handle, wire::encode(wire::Failure{}));
    }
  }

  void begin(const wire::Frame& frame) {
    const auto items = wire::decode_items(frame.payload);
    const std::uint64_t handle = items->front().handle;
    const std::int64_t wanted = std::stoll(std::string(items->front().inline_body));
    calls_[handle] = {wanted, wanted == 999 ? 1 << 30 : wire::credit_window_bytes};
    talker_.say(wire::Type::result, handle, wire::encode(wire::Answer{}), wire::flag_streaming);
    pour(handle);
  }

  void pour(std::uint64_t handle) {
    Call& call = calls_[handle];
    const std::string kibibyte(1024, 'k');
    while (call.kibibytes_left > 0 && call.credit >= 1024) {
      call.credit -= 1024;
      --call.kibibytes_left;
      const auto flags = call.kibibytes_left == 0 ? wire::flag_end : 0;
      talker_.say(wire::Type::chunk, handle, kibibyte, static_cast<std::uint16_t>(flags));
    }
  }

  Talker talker_;
  std::map<std::uint64_t, Call> calls_;
};
inline void stream(int socket) {
  Streamer streamer(socket);
}

// Begins to stream what is no stream: tensors, or a body of its own.
inline void stream_tensors(int socket) {
  Talker talker(socket);
  while (const auto frame = talker.hear()) {
    if (frame->header.type != wire::Type::invoke) continue;
    const auto items = wire::decode_items(frame->payload);
    wire::Answer head;
    if (items->front().inline_body == "body") {
      head.inline_body = "x";
      head.body_size = 1;
    } else {
      head.content = {.tensors = {{{"y", wire::DataType::fp32, {-1}}, 0, 0}}, .is_tensors = true};
    }
    talker.say(wire::Type::result, items->front().handle, wire::encode(head), wire::flag_streaming);
  }
}

// Streams its answer in one chunk, which is the last, too; told "more", in two.
inline void stream_at_once(int socket) {
  Talker talker(socket);
  while (const auto frame = talker.hear()) {
    if (frame->header.type != wire::Type::invoke) continue;
    const auto items = wire::decode_items(frame->payload);
    const std::uint64_t handle = items->front().handle;
    talker.say(wire::Type::result, handle, wire::encode(wire::Answer{}), wire::flag_streaming);
    usleep(20'000);  // Somebody reads by now.
    const std::string piece(1024, 'p');
    if (items->front().inline_body == "more") talker.say(wire::Type::chunk, handle, piece);
    talker.say(wire::Type::chunk, handle, piece, wire::flag_end);
  }
}

}  // namespace dormouse::fleet
