// Private to http: the bytes of one connection, in both directions, with their deadlines.
//
// Reading goes through a flat buffer that is kept for the connection's life, or past it straight
// into the caller's memory. Writing gathers pieces and sends them with one system call, and waits
// only if the kernel's buffer is full. While something waits for the client, deadline() says until
// when; the sweep calls pass_deadline() after it.
//
// Ownership  Pieces given to add() must live until flush() has completed.
// Errors     cancelled: the client went away. deadline_exceeded: it was too slow.
#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "async/clock.h"
#include "base/result.h"
#include "http/pace.h"
#include "http/server.h"

namespace dormouse::http {

class Core;

class Stream {
 public:
  Stream(Core* core, asio::ip::tcp::socket socket);

  std::string_view buffered() const { return {buffer_.data() + begin_, end_ - begin_}; }
  void consume(std::size_t bytes);

  // Appends what arrives to buffered(), which may grow up to the largest head. Gives how much: 0
  // means the client has sent its last byte.
  asio::awaitable<Result<std::size_t>> fill(TimePoint give_up_at);
  // The same for a body, at the pace that a body must have.
  asio::awaitable<Result<std::size_t>> fill_with_body();
  // Reads a body past the buffer, which must be empty.
  asio::awaitable<Result<std::size_t>> read_body(std::span<char> into);
  void begin_body() { body_pace_ = fresh_pace(); }

  // An empty string to build a head in, and to add() then; kept to save its allocation.
  std::string& scratch();
  void add(std::string_view piece);
  asio::awaitable<Result<>> flush(bool more_follows = false);
  // What flush() does without waiting: false if the rest is left to it. Spares the common case, in
  // which the kernel takes everything at once, a coroutine.
  Result<bool> try_flush(bool more_follows = false);
  asio::awaitable<Result<>> send_file(int descriptor, std::uint64_t offset, std::uint64_t size);

  // Says that no more will be sent, and waits a little for the client to have read what was.
  asio::awaitable<void> linger();
  void close();
  void interrupt();  // Wakes whoever waits for the client, as if it had gone away.

  TimePoint deadline() const { return std::min(read_deadline_, write_deadline_); }
  void pass_deadline();
  int descriptor() { return socket_.native_handle(); }
  std::string peer() const;  // Its address: "127.0.0.1"; empty if it is gone.

 private:
  // What goes into make_room()'s room is buffered() afterwards.
  asio::awaitable<Result<std::size_t>> receive(std::span<char> into, TimePoint give_up_at);
  asio::awaitable<Result<std::size_t>> receive_elsewhere(std::span<char> into,
                                                         TimePoint give_up_at);
  asio::awaitable<Result<>> wait_until_writable();
  Result<bool> send_pieces(bool more_follows);
  void drop_sent(std::size_t bytes);
  void forget_pieces();
  std::span<char> make_room();
  void arm(TimePoint& deadline, TimePoint give_up_at);
  Error failure() const;
  Pace fresh_pace() const;

  Core* core_;
  asio::ip::tcp::socket socket_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::string scratch_;
  std::vector<iovec> pieces_;
  std::size_t first_piece_ = 0;  // Those before it were sent.
  Pace body_pace_;
  Pace write_pace_;
  TimePoint read_deadline_ = never;
  TimePoint write_deadline_ = never;
  bool late_ = false;
};

}  // namespace dormouse::http
