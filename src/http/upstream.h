// One connection to an HTTP/1.1 server that is not trusted, from the client's side, for whoever
// passes requests on to it: bytes of a request out, its response back as it comes.
//
//   send(head) send(body)…  beside  response() read() … read()
//
// Sending and reading may go on at the same time, in two coroutines. One request at a time.
//
// Ownership  Owns its socket.
// Threads    The executor it is given.
// Errors     function_failed: the server closed the connection too early, or speaks no HTTP; the
//            message says which, for a person. No deadlines: whoever sets one calls shut().
#pragma once

#include <array>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "async/clock.h"
#include "http/body_cursor.h"
#include "http/head.h"
#include "http/message.h"

namespace dormouse::http {

// The head of a request that is passed on, ready to send: `fields` without those that belong to a
// connection, then `further`, then the body's framing (chunked unless `size` is known).
struct OutgoingHead {
  std::string_view method;
  std::string_view target;  // As a Head has it: nothing of it is encoded here.
  const Fields& fields;
  std::array<std::string_view, 3> left_out;  // Fields that do not go either.
  const Fields& further;                     // Instead of those of the same name.
  std::optional<std::uint64_t> size;
  std::string_view upgrade;  // "websocket", or empty.
};
std::string request_head(const OutgoingHead&);

class Upstream {
 public:
  // Takes a connected stream socket that does not block.
  Upstream(asio::any_io_executor executor, int socket);

  // The request and response before were whole, and others may follow.
  bool is_between() const;
  // It can take a request: the same, and the server has not closed it since.
  bool is_reusable();
  bool was_used() const { return was_used_; }

  // Between the two all of a request is sent. One that is left half sent lets no other follow.
  void begin_request() { request_is_whole_ = false; }
  void end_request() { request_is_whole_ = true; }
  asio::awaitable<Result<>> send(std::string_view bytes);
  asio::awaitable<Result<>> send_chunk(std::string_view bytes);  // An empty one ends the body.

  // The response's head. `to_head`: the request was HEAD.
  asio::awaitable<Result<ReceivedResponse>> response(bool to_head);
  // All of its body if it is here already, or there is none; nothing is left to read() then. Lives
  // until the next call.
  std::optional<std::string_view> take_whole();
  bool has_more_here() const { return end_ - begin_ > handed_out_; }  // Without waiting.
  // More of it, nullopt at its end; after a 101 whatever comes. Lives until the next call.
  asio::awaitable<Result<std::optional<std::string_view>>> read();

  void shut();  // Whoever waits here is told that the connection has ended.

 private:
  Result<std::string_view> next_piece();
  asio::awaitable<Result<std::size_t>> fill();
  std::string_view buffered() const { return {buffer_.data() + begin_, end_ - begin_}; }
  void consume(std::size_t bytes);

  asio::posix::stream_descriptor socket_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0, end_ = 0;
  std::size_t handed_out_ = 0;  // Of what is buffered: consumed by the next call.
  BodyCursor cursor_ = BodyCursor::none();
  bool upgraded_ = false;
  bool keeps_ = true;  // The server said nothing else.
  bool was_used_ = false;
  bool in_response_ = false;
  bool request_is_whole_ = true;
};

}  // namespace dormouse::http
