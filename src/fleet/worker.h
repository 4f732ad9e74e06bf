// One living sandbox and the worker at the other end of its wire: frames in, frames out, lines of
// output. It knows the protocol's framing, not what the frames mean.
//
// Ownership  Owns the Sandbox. It is destroyed only after the coroutines that use it have looked it
//            up anew and found it gone; an await on its descriptors then ends with an error.
// Threads    One executor.
// Bounds     The outbox holds at most outbox_bytes_max and outbox_descriptors_max, and a full frame
//            for each call that it may be given at a time: a worker that does not read is broken
//            off.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "async/clock.h"
#include "sandbox/sandbox.h"
#include "wire/socket.h"

namespace dormouse::fleet {

// A descriptor that is to be sent, and that somebody else may want again.
using SharedDescriptor = std::shared_ptr<const wire::Descriptor>;

// What expect() says when the worker is gone: how it went, only its sandbox knows.
inline constexpr std::string_view worker_ended = "the worker ended";

class Worker {
 public:
  static constexpr std::size_t outbox_bytes_max = 8 << 20;
  static constexpr std::size_t outbox_descriptors_max = 128;
  static constexpr std::size_t line_bytes_max = 16 << 10;
  static constexpr Duration look_first = std::chrono::milliseconds(10);  // For a fork bomb.

  Worker(asio::any_io_executor, std::unique_ptr<sandbox::Sandbox>);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  sandbox::Sandbox& sandbox() { return *sandbox_; }
  const sandbox::Sandbox& sandbox() const { return *sandbox_; }

  // Queues a frame; flush() sends what is queued as far as the socket takes it. The kernel
  // duplicates the descriptors into the message: ours stay open while anyone holds them.
  void post(wire::Type, std::uint64_t handle, std::string_view payload,
            std::vector<SharedDescriptor> descriptors = {}, std::uint16_t flags = 0);
  // True if something is left: await writable(), then flush again. unavailable if the worker is
  // gone or does not read.
  Result<bool> flush();
  // The outbox is beyond its bounds: to be said before flush() is left to wait.
  bool does_not_read() const {
    return outbox_bytes_ > outbox_bytes_max + calls_max_ * wire::payload_bytes_max ||
           outbox_descriptors_ > outbox_descriptors_max + calls_max_;
  }
  // So many calls it may be given at a time.
  void expect_calls(std::int32_t at_once) { calls_max_ = static_cast<std::size_t>(at_once); }
  // It has taken everything that was sent, or posted.
  bool has_read_all() const;

  // The next frame that is there; nullopt if none is. Its payload lives until the next poll().
  Result<std::optional<wire::Frame>> poll() { return receiver_.receive(); }
  // Who sent the last frame, as the kernel says; 0 unless its sandbox is a slot.
  pid_t sender() const { return receiver_.sender(); }
  // Nothing of it can be read, not even its end.
  bool is_silent();
  // Complete with a failure when this Worker died meanwhile: it must not be touched then.
  using Waited = asio::awaitable<std::tuple<boost::system::error_code>>;
  Waited readable();
  Waited writable();
  Waited has_output();

  // Whole lines that the program printed since last asked, with line breaks between them; an
  // overlong one comes in pieces. At most one buffer's worth a call.
  struct Took {
    bool any = false;   // Bytes, if no whole line: there may be more.
    bool open = false;  // Until the program closes its output.
    std::optional<std::string> lines;

    std::string_view last_line() const {
      return lines ? std::string_view(*lines).substr(lines->rfind('\n') + 1) : "";
    }
  };
  Took take_output();
  // What was printed since the last line's end, and taken by take_output() already.
  bool is_amid_line() const { return !partial_line_.empty(); }
  std::string take_partial_line() { return std::exchange(partial_line_, {}); }

  // Awaits the one frame of `type`, for as long as nothing else is expected: hello, ready, … An
  // init_failed gives the worker's own error; anything else breaks the protocol. Meanwhile it minds
  // the program's forks.
  asio::awaitable<Result<std::string>> expect(async::Clock*, wire::Type, TimePoint deadline);

 private:
  struct Outgoing {
    std::string bytes;
    std::vector<SharedDescriptor> descriptors;
    std::size_t sent = 0;
  };

  asio::awaitable<Result<std::string>> next_payload(async::Clock*, wire::Type);
  asio::awaitable<bool> readable_before(async::Clock*, TimePoint);

  std::unique_ptr<sandbox::Sandbox> sandbox_;
  asio::posix::stream_descriptor socket_;  // Duplicates: Asio closes what it holds.
  asio::posix::stream_descriptor output_;
  wire::FrameReceiver receiver_;
  std::deque<Outgoing> outbox_;
  std::size_t outbox_bytes_ = 0;
  std::size_t outbox_descriptors_ = 0;
  std::size_t calls_max_ = 1;
  std::string partial_line_;
};

}  // namespace dormouse::fleet
