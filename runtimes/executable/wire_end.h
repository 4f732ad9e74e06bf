// This program's end of the wire, once it is known that nobody else in the sandbox speaks there:
// frames are queued, and sent as far as the socket takes them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "wire/messages.h"
#include "wire/socket.h"

namespace dormouse::executable {

inline constexpr int protocol_broken = 2;  // The status to exit with then.

class WireEnd {
 public:
  explicit WireEnd(int socket) : socket_(socket) {}

  int socket() const { return socket_; }
  void post(wire::Type, std::uint64_t handle, std::string_view payload, std::uint16_t flags = 0);
  bool has_more() const { return !out_.empty(); }
  Result<> flush();  // What the socket does not take stays.
  // Why the code did not start; gives the status to exit with.
  int tell_init_failed(const Error&);

 private:
  int socket_;
  std::string out_;
};

// Awaits the first frame, on a socket that blocks: the options of `load`; nullopt: it was drained
// before. unavailable: the daemon is gone. invalid_argument: it is another frame.
Result<std::optional<wire::Options>> await_load(wire::FrameReceiver&);

}  // namespace dormouse::executable
