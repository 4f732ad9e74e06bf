// A worker for tests that speaks frames itself, many invocations at a time. The body of a call says
// what to do:
//
//   echo TEXT · sleep MS · stream KIB · id · pid
//   crash · exit N · spin · stop · ignore-term · oom MB · print BYTES · orphan · fork-bomb
//   connect ADDRESS PORT · fill · kill-all
//   wrong-handle · twice · late · huge · malformed
//
// A call of OpenAI's dialect is answered as language_model.h says.
//
// Options of the manifest's env: INIT_SLEEP ms, INIT_CRASH, INIT_CRASH_IF a file is there,
// INIT_FAIL text. If /attempts/log can be opened, each finished invocation adds a line "id attempt
// pid t0_us t1_us" with one write.
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "language_model.h"
#include "misdeeds.h"
#include "wire/messages.h"
#include "wire/socket.h"
#include "wire/worker.h"

namespace dormouse::probe {
namespace {

using Clock = std::chrono::steady_clock;
const int socket_number = wire::given_socket();

std::int64_t now_us() {
  const auto since = Clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(since).count();
}

struct Call {
  InvocationId id;
  std::uint32_t attempt = 1;
  std::int64_t began_us = 0;
  Clock::time_point due{};  // Of a sleep.
  std::string answer;       // When it is due.
  std::int64_t left = 0;    // Bytes still to stream.
  std::int64_t credit = wire::credit_window_bytes;
  std::string operation;  // Of OpenAI's, if it is one.
  Said said;
  std::int64_t words = 0;  // Said so far.
};

class Probe {
 public:
  int run() {
    fcntl(socket_number, F_SETFL, O_NONBLOCK);
    say(wire::Type::hello, 0, wire::encode(wire::Hello{wire::version, "probe", "1"}));
    for (;;) {
      pollfd in{socket_number, POLLIN, 0};
      if (poll(&in, 1, milliseconds_to_next()) > 0 && !hear()) return 0;
      finish_due();
    }
  }

 private:
  void say(wire::Type type, std::uint64_t handle, std::string_view payload,
           std::uint16_t flags = 0) {
    std::string out;
    wire::append_frame(out, type, flags, handle, payload);
    if (!wire::send_all(socket_number, out, {})) std::_Exit(0);
  }

  // All frames that are there; false when the daemon said to go, or is gone.
  bool hear() {
    for (;;) {
      const auto frame = receiver_.receive();
      if (!frame) return false;
      if (!*frame) return true;
      if (!take(**frame)) return false;
    }
  }

  bool take(const wire::Frame& frame) {
    const std::uint64_t handle = frame.header.handle;
    const wire::Type type = frame.header.type;
    if (type == wire::Type::load) {
      load(frame.payload);
    } else if (type == wire::Type::invoke) {
      const auto items = wire::decode_items(frame.payload);
      for (const wire::Item& item : *items) begin(item);
    } else if (type == wire::Type::state) {
      take_state(frame);
    } else if (type == wire::Type::room) {
      fill_room(frame);
    } else if (type == wire::Type::credit && calls_.contains(handle)) {
      calls_[handle].credit += *wire::decode_credit(frame.payload);
      if (calls_[handle].operation.empty()) pour(handle);
    } else if (type == wire::Type::cancel && calls_.erase(handle) > 0) {
      say(wire::Type::failed, handle, wire::encode(wire::Failure{}));
    }
    leaving_ = leaving_ || type == wire::Type::drain;
    return !leaving_ || !keeping_.empty();
  }

  void load(std::string_view payload) {
    auto options = wire::decode_load(payload)->options;
    if (options.contains("env.INIT_SLEEP")) {
      usleep(static_cast<useconds_t>(std::stoul(options["env.INIT_SLEEP"]) * 1000));
    }
    if (options.contains("env.INIT_CRASH")) std::abort();
    if (options.contains("env.INIT_CRASH_IF")) crash_if(options["env.INIT_CRASH_IF"]);
    if (options.contains("env.INIT_FAIL")) {
      const wire::Failure failure{Code::function_failed, options["env.INIT_FAIL"]};
      return say(wire::Type::init_failed, 0, wire::encode(failure));
    }
    say(wire::Type::ready, 0, wire::encode(wire::Ready{{}, "probe", {}}));
  }

  // Each crash leaves a line in the file.
  static void crash_if(const std::string& file) {
    const int there = open(file.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
    if (there < 0) return;
    if (write(there, "crash\n", 6) < 0) std::perror("the file of crashes");
    std::abort();
  }

  void begin(const wire::Item& item) {
    const bool is_openai = !item.outputs.empty() || item.inline_body.starts_with("{");
    if (is_openai) return begin_openai(item);
    std::istringstream words{std::string(item.inline_body)};
    std::string verb;
    words >> verb;
    std::string rest;
    std::getline(words >> std::ws, rest);
    calls_[item.handle] = {item.id, item.attempt, now_us()};
    if (verb == "sleep") {
      calls_[item.handle].due = Clock::now() + std::chrono::milliseconds(std::stoll(rest));
      calls_[item.handle].answer = "slept";
    } else if (verb == "stream") {
      calls_[item.handle].left = std::stoll(rest) * 1024;
      say(wire::Type::result, item.handle, wire::encode(wire::Answer{}), wire::flag_streaming);
      pour(item.handle);
    } else if (!misbehave(item.handle, verb, rest)) {
      finish(item.handle, obey(item, verb, rest));
    }
  }

  void begin_openai(const wire::Item& item) {
    Call& call = calls_[item.handle] = {item.id, item.attempt, now_us()};
    call.operation = item.outputs.empty() ? "chat.completions" : item.outputs.front();
    call.said = read_request(item.inline_body);
    const Said& said = call.said;
    if (fail(item.handle, said.verb)) return;
    if (said.verb == "remember") return remember(item.handle, call);
    if (said.verb == "slowly") call.due = Clock::now() + std::chrono::milliseconds(said.pause_ms);
    if (!said.streams) {
      call.answer = whole_answer(call.operation, said.count);
      return finish_due();
    }
    wire::Answer head{.content = {.content_type = "text/event-stream"}};
    say(wire::Type::result, item.handle, wire::encode(head), wire::flag_streaming);
    count_tokens(item.handle, 0);
    if (said.verb == "torn") tear(item.handle);
    if (said.verb == "slowly") {
      call.answer = "a word";  // That is due, one after the other.
      return;
    }
    while (call.words < said.count) say_word(item.handle, call);
    if (said.verb == "die") std::_Exit(1);
    if (said.verb == "stall") return;
    if (said.verb == "break") return break_off(item.handle, call);
    end_words(item.handle, call);
  }

  // What is kept is the words themselves. What a fresh instance was handed over goes first.
  void remember(std::uint64_t handle, Call& call) {
    const std::string name = std::exchange(conversation_of_[handle], "");
    std::string& words = conversations_[name];
    words += call.said.word + " ";
    call.answer = whole_answer(call.operation, words, 1);
    finish(handle, std::string(call.answer));
    if (name.empty()) return;
    const std::uint64_t own = ++keeps_ | wire::keep_bit;
    keeping_[own] = {handle, name, words};
    say(wire::Type::ask_room, own, wire::encode_ask_room(words.size()));
  }

  void take_state(const wire::Frame& frame) {
    const auto state = wire::decode_state(frame.payload);
    conversation_of_[frame.header.handle] = state->conversation;
    if (!state->has_state || conversations_.contains(state->conversation)) return;
    std::string words(state->size, '\0');
    const int file = frame.descriptors.front().number();
    if (pread(file, words.data(), words.size(), static_cast<off_t>(state->offset)) > 0) {
      conversations_[state->conversation] = words;
    }
  }

  void fill_room(const wire::Frame& frame) {
    const auto kept = keeping_.extract(frame.header.handle);
    if (!kept || frame.descriptors.empty()) return;
    const auto& [handle, name, words] = kept.mapped();
    const int room = frame.descriptors.front().number();
    if (pwrite(room, words.data(), words.size(), 0) != std::ssize(words)) return;
    say(wire::Type::keep, frame.header.handle,
        wire::encode(wire::Keep{handle, name, words.size()}));
  }

  bool fail(std::uint64_t handle, const std::string& how) {
    const std::map<std::string, wire::Failure> failures = {
        {"temperature", {Code::invalid_argument, "temperature: must be between 0 and 2"}},
        {"context", {Code::invalid_argument, "messages: context: 5000 tokens do not fit 4096"}},
        {"broken", {Code::function_failed, "the model is broken"}}};
    const auto failure = failures.find(how);
    if (failure == failures.end()) return false;
    note(calls_[handle]);
    calls_.erase(handle);
    say(wire::Type::failed, handle, wire::encode(failure->second));
    return true;
  }

  void count_tokens(std::uint64_t handle, std::int64_t words) {
    say(wire::Type::stats, handle,
        wire::encode(wire::Stats{7, 3, static_cast<std::uint64_t>(words)}));
  }

  void say_word(std::uint64_t handle, Call& call) {
    say(wire::Type::chunk, handle, word_event(call.operation, ++call.words));
    count_tokens(handle, call.words);
  }

  void tear(std::uint64_t handle) {
    for (const std::string& piece : torn_event()) say(wire::Type::chunk, handle, piece);
  }

  void break_off(std::uint64_t handle, const Call& call) {
    const std::string event = word_event(call.operation, call.words + 1);
    say(wire::Type::chunk, handle, event.substr(0, event.size() / 2));
  }

  void end_words(std::uint64_t handle, const Call& call) {
    if (call.said.with_usage) say(wire::Type::chunk, handle, usage_event(call.words));
    note(call);
    say(wire::Type::chunk, handle, done_event, wire::flag_end);
    calls_.erase(handle);
  }

  // One that says its words slowly has said all of them, or another.
  void go_on(std::uint64_t handle, Call& call) {
    say_word(handle, call);
    call.due += std::chrono::milliseconds(call.said.pause_ms);
    if (call.words == call.said.count) end_words(handle, call);
  }

  std::string obey(const wire::Item& item, const std::string& verb, const std::string& rest) {
    if (verb == "echo") return rest;
    if (verb == "id") return item.id.text();
    if (verb == "pid") return std::to_string(getpid()) + " uid " + std::to_string(getuid());
    if (verb == "oom") return use_memory(std::stoull(rest));
    if (verb == "print") return print(std::stoull(rest));
    if (verb == "orphan") return leave_orphan();
    if (verb == "fork-bomb") return fork_bomb();
    if (verb == "fill") return fill_tmp();
    if (verb == "kill-all") return kill_everyone();
    if (verb == "connect") {
      const auto space = rest.find(' ');
      return connect_to(rest.substr(0, space),
                        static_cast<std::uint16_t>(std::stoi(rest.substr(space + 1))));
    }
    return "unknown: " + verb;
  }

  // What ends without an answer, or with a wrong one. False: `verb` is none of these.
  bool misbehave(std::uint64_t handle, const std::string& verb, const std::string& rest) {
    if (verb == "crash")
      *const_cast<volatile int*>(nowhere_) = 1;  // PID 1 ignores its own raise().
    if (verb == "exit") std::_Exit(std::stoi(rest));
    if (verb == "ignore-term") signal(SIGTERM, SIG_IGN);
    if (verb == "spin" || verb == "ignore-term") {
      for (volatile bool forever = true; forever;) {
      }
    }
    if (verb == "stop") raise(SIGSTOP);
    wire::Answer answer;
    answer.inline_body = "lie";
    answer.body_size = 3;
    if (verb == "wrong-handle") say(wire::Type::result, handle + 1'000'000, wire::encode(answer));
    if (verb == "twice") {
      note(calls_[handle]);
      say(wire::Type::result, handle, wire::encode(answer));
      say(wire::Type::result, handle, wire::encode(answer));
    }
    if (verb == "late") {
      say(wire::Type::failed, handle, wire::encode(wire::Failure{Code::function_failed, "late"}));
      say(wire::Type::result, handle, wire::encode(answer));
    }
    if (verb == "huge") {
      answer.in_memfd = true;
      answer.body_size = std::uint64_t{10} << 30;
      say(wire::Type::result, handle, wire::encode(answer));
    }
    if (verb == "malformed") say(wire::Type::result, handle, "\xFF\xFF\xFF\xFF");
    return verb == "stop" || verb == "wrong-handle" || verb == "twice" || verb == "late" ||
           verb == "huge" || verb == "malformed";
  }

  void finish(std::uint64_t handle, const std::string& text) {
    const Call call = calls_[handle];
    note(call);
    calls_.erase(handle);
    const bool is_openai = !call.operation.empty();
    if (is_openai) count_tokens(handle, call.said.count);
    wire::Answer answer{.content = {.content_type = is_openai ? "application/json" : "text/plain"}};
    answer.inline_body = text;
    answer.body_size = text.size();
    say(wire::Type::result, handle, wire::encode(answer));
  }

  void pour(std::uint64_t handle) {
    Call& call = calls_[handle];
    const std::string block(16 << 10, 's');
    while (call.left > 0 && call.credit > 0) {
      const auto size = std::min({call.left, call.credit, static_cast<std::int64_t>(block.size())});
      call.left -= size;
      call.credit -= size;
      const bool last = call.left == 0;
      if (last) note(call);
      say(wire::Type::chunk, handle,
          std::string_view(block).substr(0, static_cast<std::size_t>(size)),
          last ? wire::flag_end : 0);
    }
    if (call.left == 0) calls_.erase(handle);
  }

  void note(const Call& call) {
    const int log = open("/attempts/log", O_WRONLY | O_APPEND | O_CLOEXEC);
    if (log < 0) return;
    const std::string line = call.id.text() + " " + std::to_string(call.attempt) + " " +
                             std::to_string(getpid()) + " " + std::to_string(call.began_us) + " " +
                             std::to_string(now_us()) + "\n";
    if (write(log, line.data(), line.size()) < 0) std::perror("the log of attempts");
    close(log);
  }

  int milliseconds_to_next() const {
    std::optional<Clock::time_point> next;
    for (const auto& [_, call] : calls_) {
      if (!call.answer.empty() && (!next || call.due < *next)) next = call.due;
    }
    if (!next) return -1;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*next - Clock::now()).count();
    return static_cast<int>(std::max<std::int64_t>(left, 0));
  }

  void finish_due() {
    std::vector<std::uint64_t> due;
    for (const auto& [handle, call] : calls_) {
      if (!call.answer.empty() && call.due <= Clock::now()) due.push_back(handle);
    }
    for (const std::uint64_t handle : due) {
      Call& call = calls_[handle];
      if (!call.operation.empty() && call.said.streams) {
        go_on(handle, call);
      } else {
        finish(handle, std::string(call.answer));
      }
    }
  }

  int* nowhere_ = nullptr;
  wire::FrameReceiver receiver_{socket_number};
  std::map<std::uint64_t, Call> calls_;

  struct Kept {
    std::uint64_t handle = 0;
    std::string name, words;
  };
  std::map<std::string, std::string> conversations_;  // Their words, by name.
  std::map<std::uint64_t, std::string> conversation_of_;
  std::map<std::uint64_t, Kept> keeping_;
  std::uint64_t keeps_ = 0;
  bool leaving_ = false;  // As soon as all is kept.
};

}  // namespace
}  // namespace dormouse::probe

int main() {
  return dormouse::probe::Probe().run();
}
