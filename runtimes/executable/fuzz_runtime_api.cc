// S17: a hostile program at the Runtime API, with four connections at once, between the frames of a
// daemon that keeps to the protocol. Whatever it sends, only what it was given is answered, once,
// within its limits, and what the API keeps is bounded and gone with its connections.
//
// The input is pieces that begin with "|" and say what happens:
//
//   |0 to |3   bytes of that connection, "@2" in them being the id of invocation 2, "~" the path
//              before ids, "^" 16 KiB
//   |x0        the client of that connection goes away
//   |i |m |s   an invocation comes; its event in a memfd; one that 10 bytes may answer
//   |c2 |k2    invocation 2 is cancelled; may stream 64 KiB more
//   |r |n      for what was asked first there is room; is none
//   |a |b |f   the first call of another function is answered; in a memfd; fails
#include <poll.h>
#include <sanitizer/allocator_interface.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "http/head.h"
#include "runtimes/executable/runtime_api.h"

namespace dormouse::executable {
namespace {

constexpr std::uint64_t large_bytes = 100 << 10, small_bytes = 10;
constexpr std::size_t invocations_max = 16, blocks_max = 64;
constexpr std::size_t kept_bytes_max = 16 << 20;
constexpr std::uint32_t more_credit = 64 << 10;

InvocationId id_of(std::uint64_t handle) {
  return InvocationId::from_raw(0x0190000000007000, std::uint64_t{1} << 63 | handle);
}

wire::Descriptor memfd_of(std::uint64_t size) {
  wire::Descriptor memory(memfd_create("fuzz", MFD_CLOEXEC));
  CHECK(memory && ftruncate(memory.number(), static_cast<off_t>(size)) == 0);
  return memory;
}

std::pair<wire::Descriptor, wire::Descriptor> socket_pair() {
  int ends[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
  return {wire::Descriptor(ends[0]), wire::Descriptor(ends[1])};
}

// What the daemon knows of one.
struct Invocation {
  std::uint64_t bytes_max = 0;
  std::uint64_t credit = 0;
  bool given = false;  // A client has read its id.
  bool cancelled = false, asked_room = false, has_room = false, streams = false, ended = false;
};

struct InnerCall {
  bool asked_room = false, called = false;
};

// Everything that the worker says, held to what it may say.
class Daemon {
 public:
  explicit Daemon(int socket) : receiver_(socket) {}

  bool hear() {
    auto frame = receiver_.receive();
    CHECK(frame);
    if (!*frame) return false;
    const wire::Header& header = (*frame)->header;
    if ((header.handle & wire::call_bit) != 0) {
      hear_of_call(header, (*frame)->payload);
    } else if (header.handle == 0) {
      ready = header.type == wire::Type::ready;
      CHECK(ready || header.type == wire::Type::init_failed);
      CHECK(!std::exchange(initialised_, true));
    } else {
      const auto found = invocations.find(header.handle);
      CHECK(found != invocations.end() && !found->second.ended);
      hear_of(header, found->second, (*frame)->payload);
    }
    return true;
  }

  std::size_t ended() const {
    return static_cast<std::size_t>(
        std::ranges::count_if(invocations, [](const auto& each) { return each.second.ended; }));
  }

  std::map<std::uint64_t, Invocation> invocations;            // By handle.
  std::map<std::uint64_t, InnerCall> calls;                   // Those that wait for an answer.
  std::deque<std::pair<std::uint64_t, std::uint64_t>> asked;  // Handles and sizes.
  bool ready = false;

 private:
  void hear_of(const wire::Header& header, Invocation& it, std::string_view payload) {
    if (header.type == wire::Type::failed) {
      CHECK((it.given || it.cancelled) && wire::decode_failure(payload));
      it.ended = true;
    } else if (header.type == wire::Type::chunk) {
      CHECK(it.streams && payload.size() <= it.credit);
      it.credit -= payload.size();
      it.ended = (header.flags & wire::flag_end) != 0;
    } else if (header.type == wire::Type::ask_room) {
      const auto size = wire::decode_ask_room(payload);
      CHECK(size && *size <= it.bytes_max && it.given && !it.streams);
      CHECK(!std::exchange(it.asked_room, true));
      asked.emplace_back(header.handle, *size);
    } else {
      CHECK(header.type == wire::Type::result && it.given && !it.streams);
      const auto answer = wire::decode_answer(payload);
      CHECK(answer && answer->body_size <= it.bytes_max && answer->in_memfd == it.has_room);
      it.streams = (header.flags & wire::flag_streaming) != 0;
      it.credit += wire::credit_window_bytes;
      it.ended = !it.streams;
    }
  }

  void hear_of_call(const wire::Header& header, std::string_view payload) {
    if (header.type == wire::Type::ask_room) {
      const auto size = wire::decode_ask_room(payload);
      CHECK(size && *size <= large_bytes && header.handle > last_call_);
      last_call_ = header.handle;
      calls[header.handle].asked_room = true;
      asked.emplace_back(header.handle, *size);
      return;
    }
    const auto call = wire::decode_call(payload);
    CHECK(header.type == wire::Type::call && call);
    CHECK(!call->content.is_tensors || wire::validate(call->content.tensors, call->body_size));
    if (!call->in_memfd) {
      CHECK(header.handle > last_call_);
      last_call_ = header.handle;
    }
    InnerCall& it = calls[header.handle];
    CHECK(it.asked_room == call->in_memfd && !std::exchange(it.called, true));
    const auto caller = invocations.find(call->caller);
    const bool is_given = caller != invocations.end() && caller->second.given;
    // While it waited for room, its invocation may have ended.
    CHECK(is_given ? call->in_memfd || !caller->second.ended : call->in_memfd && call->caller == 0);
  }

  wire::FrameReceiver receiver_;
  bool initialised_ = false;
  std::uint64_t last_call_ = wire::call_bit;
};

// One client: its end of a connection, and what came to it.
struct Client {
  wire::Descriptor socket;
  std::unique_ptr<Connection> connection;
  std::string received;
};

class Trial {
 public:
  Trial() : Trial(socket_pair()) {}

  void play(std::string_view input) {
    while (!input.empty()) {
      const auto end = input.find('|');
      const std::string_view piece = input.substr(0, end);
      if (!piece.empty()) do_one(piece[0], piece.substr(1));
      input.remove_prefix(end == input.npos ? input.size() : end + 1);
      settle();
    }
    for (Client& client : clients_) client.connection.reset();
    settle();
    const bool all_ended = daemon_.ended() == daemon_.invocations.size();
    CHECK(api_.has_calls() == !all_ended);
    for (const auto& [handle, it] : daemon_.invocations) CHECK(it.ended || !it.streams);
  }

 private:
  explicit Trial(std::pair<wire::Descriptor, wire::Descriptor> ends)
      : ends_(std::move(ends)), worker_(ends_.first.number()), daemon_(ends_.second.number()) {}

  void do_one(char what, std::string_view rest) {
    const auto number = static_cast<std::uint64_t>(rest.empty() ? 0 : rest[0] - '0');
    switch (what) {
      case '0':
      case '1':
      case '2':
      case '3': return send_from(clients_[static_cast<std::size_t>(what - '0')], rest);
      case 'x':
        if (number < clients_.size()) clients_[number].socket = {};
        return;
      case 'i': return invoke(large_bytes, false);
      case 'm': return invoke(large_bytes, true);
      case 's': return invoke(small_bytes, false);
      case 'c': return cancel(number);
      case 'k': return give_credit(number);
      case 'r':
      case 'n': return give_room(what == 'r');
      case 'a':
      case 'b':
      case 't':
      case 'f': return answer_call(what);
      default: return;
    }
  }

  // ---- the daemon's side ----

  void tell(wire::Type type, std::uint64_t handle, std::string_view payload,
            wire::Descriptor with = {}) {
    wire::Frame frame{.header = {.type = type, .handle = handle}, .payload = payload};
    if (with) frame.descriptors.push_back(std::move(with));
    CHECK(api_.obey(frame));
  }

  void invoke(std::uint64_t bytes_max, bool in_memfd) {
    if (!daemon_.ready || daemon_.invocations.size() == invocations_max) return;
    const std::uint64_t handle = daemon_.invocations.size() + 1;
    daemon_.invocations[handle].bytes_max = bytes_max;
    wire::Item item{.handle = handle, .id = id_of(handle), .result_bytes_max = bytes_max};
    item.inline_body = in_memfd ? "" : "{}";
    item.body_size = in_memfd ? large_bytes : item.inline_body.size();
    item.has_body_memfd = in_memfd;
    item.body_offset = in_memfd ? 7 : 0;
    if (handle % 2 == 0) tell(wire::Type::context, handle, R"({"custom": 1})");
    tell(wire::Type::invoke, 0, wire::encode(std::span<const wire::Item>(&item, 1)),
         in_memfd ? memfd_of(7 + large_bytes) : wire::Descriptor());
  }

  void cancel(std::uint64_t handle) {
    const auto found = daemon_.invocations.find(handle);
    if (found == daemon_.invocations.end()) return;
    found->second.cancelled = true;
    tell(wire::Type::cancel, handle, "");
  }

  void give_credit(std::uint64_t handle) {
    const auto found = daemon_.invocations.find(handle);
    if (found == daemon_.invocations.end() || !found->second.streams) return;
    found->second.credit += more_credit;
    tell(wire::Type::credit, handle, wire::encode_credit(more_credit));
  }

  void give_room(bool there_is) {
    if (daemon_.asked.empty()) return;
    const auto [handle, size] = daemon_.asked.front();
    daemon_.asked.pop_front();
    const auto found = daemon_.invocations.find(handle);
    if (found != daemon_.invocations.end()) found->second.has_room = there_is;
    if (found == daemon_.invocations.end() && !there_is) daemon_.calls.erase(handle);
    tell(wire::Type::room, handle, "", there_is ? memfd_of(size) : wire::Descriptor());
  }

  void answer_call(char how) {
    const auto found =
        std::ranges::find_if(daemon_.calls, [](const auto& each) { return each.second.called; });
    if (found == daemon_.calls.end()) return;
    wire::CallAnswer answer;
    if (how == 'f') answer.failure = {Code::throttled, "later"};
    if (how == 'a' || how == 't') answer.inline_body = "answer";
    answer.content.is_tensors = how == 't';
    if (how == 't') answer.content.tensors = {{{"said", wire::DataType::uint8, {3, 1}}, 2, 3}};
    answer.has_body_memfd = how == 'b';
    answer.body_size = how == 'b' ? large_bytes : answer.inline_body.size();
    const std::uint64_t handle = found->first;
    daemon_.calls.erase(found);
    tell(wire::Type::answer, handle, wire::encode(answer),
         how == 'b' ? memfd_of(large_bytes) : wire::Descriptor());
  }

  // ---- the program's side ----

  std::string spelt_out(std::string_view text) {
    std::string bytes;
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '@' && i + 1 < text.size()) {
        bytes += id_of(static_cast<std::uint64_t>(text[++i] - '0') & 0xFF).text();
      } else if (text[i] == '~') {
        bytes += "/2018-06-01/runtime/invocation/";
      } else if (text[i] == '^' && blocks_ < blocks_max) {
        ++blocks_;
        bytes.append(16 << 10, 'x');
      } else {
        bytes += text[i];
      }
    }
    return bytes;
  }

  void send_from(Client& client, std::string_view text) {
    if (!client.connection) {
      auto [theirs, ours] = socket_pair();
      client = {.socket = std::move(theirs),
                .connection = std::make_unique<Connection>(std::move(ours), &api_)};
    }
    std::string bytes = spelt_out(text);
    while (!bytes.empty() && client.connection) {
      const ssize_t sent = send(client.socket.number(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;  // Nobody reads it: the rest is not sent.
      bytes.erase(0, static_cast<std::size_t>(sent));
      settle();
    }
  }

  // Until nothing moves any more. What clients read comes first: it says what they were given.
  void settle() {
    for (int idle = 0; idle < 2; ++idle) {
      for (Client& client : clients_) {
        if (!client.connection) continue;
        const bool is_gone = !client.socket;
        const bool goes_on = client.connection->pump(is_gone ? POLLIN | POLLHUP : POLLIN);
        CHECK(!is_gone || !goes_on);  // Else poll() would say it again, for ever.
        if (read_as(client)) idle = 0;
        if (!goes_on) client.connection.reset();
      }
    }
    do {
      CHECK(worker_.flush());
    } while (daemon_.hear());
    CHECK(accepted_ <= daemon_.ended() + 1);  // One more: that it failed to begin.
    CHECK(__sanitizer_get_current_allocated_bytes() < at_first_ + kept_bytes_max);
  }

  bool read_as(Client& client) {
    if (!client.socket) return false;
    char part[16 << 10];
    const std::size_t before = client.received.size();
    for (ssize_t size; (size = recv(client.socket.number(), part, sizeof(part), 0)) > 0;) {
      client.received.append(part, static_cast<std::size_t>(size));
    }
    const bool more = client.received.size() > before;
    while (take_answer(client.received)) {
    }
    return more;
  }

  // All that a client reads is answers as HTTP has them.
  bool take_answer(std::string& received) {
    constexpr http::HeadLimits limits;
    const auto end = http::find_head_end(received, 0, limits);
    CHECK(end);
    if (!*end) return false;
    const auto head =
        http::parse_response_head(std::string_view(received).substr(0, **end), limits, false);
    CHECK(head && (head->status == 100 || head->content_length));
    const std::uint64_t size = **end + head->content_length.value_or(0);
    if (received.size() < size) return false;
    received.erase(0, size);
    accepted_ += head->status == 202;
    const auto said = head->fields.find("Lambda-Runtime-Aws-Request-Id");
    if (!said) return true;
    const auto id = InvocationId::parse(*said);
    CHECK(id);
    const auto found = daemon_.invocations.find(id->low() & 0xFF);
    CHECK(found != daemon_.invocations.end() && !found->second.cancelled);
    CHECK(!std::exchange(found->second.given, true));
    return true;
  }

  const std::size_t at_first_ = __sanitizer_get_current_allocated_bytes();
  const wire::Options options_;
  std::pair<wire::Descriptor, wire::Descriptor> ends_;
  wire::WorkerEnd worker_;
  Daemon daemon_;
  RuntimeApi api_{&worker_, &options_, false};
  std::array<Client, 4> clients_;
  std::size_t accepted_ = 0;
  std::size_t blocks_ = 0;
};

}  // namespace
}  // namespace dormouse::executable

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  dormouse::executable::Trial().play({reinterpret_cast<const char*>(bytes), size});
  return 0;
}
