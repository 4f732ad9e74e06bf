// Frames over a Unix stream socket with the plain system calls: what both ends share. Blocking or
// not is the descriptor's own flag.
//
// Ownership  Neither class owns the socket. Descriptors received belong to whoever takes the Frame.
// Threads    One at a time per object.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "wire/frame.h"

namespace dormouse::wire {

// An owned file descriptor.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Descriptor();

  int number() const { return number_; }
  int release() { return std::exchange(number_, -1); }  // The caller closes it.
  explicit operator bool() const { return number_ >= 0; }

 private:
  int number_ = -1;
};

struct Frame {
  Header header;
  std::string_view payload;  // Lies in the receiver's buffer until the next receive().
  std::vector<Descriptor> descriptors;
};

// Cuts frames out of a socket.
class FrameReceiver {
 public:
  // A waiting worker's socket is blocking, and receive() never gives nullopt. The daemon's is
  // non-blocking, and after a nullopt its owner waits until it is readable, so that a read that
  // took all there was need not be followed by one that finds nothing. No worker sends
  // descriptors: to close one may take as long as its sender likes.
  enum class End : std::uint8_t { workers, waiting_workers, daemons };
  explicit FrameReceiver(int socket, End end = End::workers) : socket_(socket), whose_(end) {}

  // The next frame; nullopt if the socket is non-blocking and has no whole frame yet. `unavailable`
  // when the other side is gone, invalid_argument when it does not keep to the protocol.
  Result<std::optional<Frame>> receive();

  // Who sent what was read last, as the kernel says (SCM_CREDENTIALS); 0 unless the socket asks for
  // it with SO_PASSCRED.
  std::int32_t sender() const { return sender_; }

  // A receiver that goes on where this one stands, whose last frame then stays valid as long as
  // this one lives.
  FrameReceiver successor();

 private:
  Result<std::optional<Frame>> cut();
  Result<bool> fill();  // False: there is nothing to read.
  Result<std::vector<Descriptor>> claim(std::size_t count);

  int socket_;
  End whose_;
  std::string buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::int32_t sender_ = 0;
  bool drained_ = false;                 // The last read took all there was.
  std::vector<Descriptor> descriptors_;  // Received, and not yet of a whole frame.
};

// Sends as much of `bytes` as the socket takes; the descriptors go with the first byte. Gives how
// many bytes went: 0 if it would block.
Result<std::size_t> send_some(int socket, std::string_view bytes, std::vector<int> descriptors);

// Sends all of it on a blocking socket.
Result<> send_all(int socket, std::string_view bytes, std::vector<int> descriptors);

}  // namespace dormouse::wire
