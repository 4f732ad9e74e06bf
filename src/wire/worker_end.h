// A worker's end of the wire, for one that does several things at a time: frames are queued, and
// sent as far as the socket takes them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "wire/messages.h"
#include "wire/socket.h"

namespace dormouse::wire {

inline constexpr int protocol_broken = 2;  // The status to exit with then.

class WorkerEnd {
 public:
  explicit WorkerEnd(int socket) : socket_(socket) {}

  int socket() const { return socket_; }
  void post(Type, std::uint64_t handle, std::string_view payload, std::uint16_t flags = 0);
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
Result<std::optional<Options>> await_load(FrameReceiver&);

}  // namespace dormouse::wire
