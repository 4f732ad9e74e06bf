// An HTTP/1.1 server: accepts, bounds and parses requests, and hands them to a Handler. It knows no
// routes. Beast stays inside.
//
// A request is refused (400, 408, 413, 414, 431, 501, 505) and its connection closed before any
// Handler handles it if it is ambiguous (RFC 9112: both Content-Length and Transfer-Encoding,
// differing lengths, obs-fold, bare LF, whitespace before a colon, …) or over a limit. Bodies
// longer than `inline_body_bytes_max` are received straight into a memfd. Content-Encoding is never
// decoded.
//
// Threads    Everything runs on the executor given to the Server; a connection stays on it.
// Ownership  The Server owns its connections. The executor outlives the Server; Handler and Clock
//            outlive both, since what a destroyed Server cancelled unwinds when the executor runs
//            next. After stop() has completed nothing is left to unwind.
// Cancelling When a client hangs up, or stop() runs out of grace, the coroutine that handle()
//            returned is cancelled (Asio's terminal cancellation), at most 100 ms later.
// Waiting    One coarse sweep enforces every deadline of every connection; it sleeps while there
//            is nothing to enforce.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "async/clock.h"
#include "base/check.h"
#include "http/exchange.h"
#include "http/message.h"

namespace dormouse::http {

struct Limits {
  std::uint32_t connections_max = 10'000;  // More: 503 and close.
  std::uint32_t header_bytes_max = 32 * 1024;
  std::uint32_t target_bytes_max = 8 * 1024;
  std::uint64_t inline_body_bytes_max = 48 * 1024;
  // Of all larger ones, and of answers that are being sent; then 503.
  std::uint64_t bodies_bytes_max = std::uint64_t{4} << 30;
  Duration header_timeout = std::chrono::seconds(10);
  Duration idle_timeout = std::chrono::seconds(75);  // Between requests of one connection.
  // Slower bodies are cut after 10 s of grace; who reads answers slower, after write_timeout.
  std::uint32_t body_bytes_per_second_min = 1024;
  Duration write_timeout = std::chrono::seconds(30);
};

struct Request {
  std::shared_ptr<const Head> head;  // Never null, but in one that was moved from.
  Body body;
  bool loopback = false;  // The peer's address is a loopback one.
};

// More of a streamed body: the next piece, nullopt at the end. An Error ends the response early
// (the connection is closed without a last chunk, so that the client sees it was cut).
using Pieces = std::function<asio::awaitable<Result<std::optional<std::string>>>()>;

// A body that is put together as it is sent, and copied nowhere: some bytes, and parts of another.
struct Spliced {
  struct Part {
    std::uint64_t offset = 0, size = 0;  // All of it within `of`.
    friend bool operator==(const Part&, const Part&) = default;
  };
  std::string head;
  Body of;
  std::vector<Part> parts;

  void add(Part);  // Behind those that are there.
  std::uint64_t size() const;
};

struct Response {
  int status = 200;
  // Content-Length, Date, Connection and their like are the server's: left out if given. A status
  // or field that cannot be sent as it is becomes a 500.
  Fields fields;
  std::variant<Body, Pieces, Spliced> body;  // Pieces are sent chunked, as they come.
  std::function<Fields()> trailers;          // Asked after the last piece; may be empty.
};

// The request is passed on as it comes, to pass(); its body may have so many bytes. Only such a
// request may have an ambiguous path or an encoded body: any other is answered with 400 or 415,
// unless admit() answered that it has no key (401) or is too long (413).
struct Passing {
  std::uint64_t body_bytes_max = 0;
};
// The body, which may have so many bytes, is received first, for handle(). What is behind its first
// `header_bytes` begins at a multiple of aligned_bytes, if it is long enough to lie in a memfd.
struct Receiving {
  std::uint64_t body_bytes_max = 0;
  std::uint64_t header_bytes = 0;
};
inline constexpr std::uint64_t aligned_bytes = 64;
// What becomes of a request; or the response that refuses it (an unknown path, no key, …).
using Admission = std::variant<Receiving, Passing, Response>;

class Handler {
 public:
  virtual ~Handler() = default;
  // Before the body is read. Must not block.
  virtual Admission admit(const Head&, bool loopback) = 0;
  virtual asio::awaitable<Response> handle(Request) = 0;
  // Of what was admitted as Passing. The connection is closed if it returns before the response is
  // whole. Cancelled as handle() is; the Exchange lives until it has returned.
  virtual asio::awaitable<void> pass(Exchange*) {
    CHECK_UNREACHABLE("a Handler that admits so passes requests on");
  }
  // The server stops, and the grace of what is still open is over: what can be answered now is.
  virtual void grace_is_over() {}
};

// The response that the server itself gives: its own 4xx, 5xx and 503. `path` is how that of the
// request begins, as far as it was read: not decoded if its head could not be read, and
// empty if not even a request line came.
using Refusal =
    std::function<Response(int status, std::string_view message, std::string_view path)>;

struct Counters {
  std::uint64_t connections_open = 0;
  std::uint64_t connections_total = 0;
  std::uint64_t requests_total = 0;
  std::uint64_t refused_total = 0;  // Malformed, too large, too slow or one too many.
};

class Server {
 public:
  virtual ~Server() = default;
  virtual std::uint16_t port() const = 0;
  virtual Counters counters() const = 0;
  // Stops accepting, and lets requests in progress end for `grace`; then tells the Handler, and
  // half a second later cancels what is left. Returns when every connection is closed.
  virtual asio::awaitable<void> stop(Duration grace) = 0;
};

struct ServerOptions {
  std::string host = "127.0.0.1";  // An address, IPv4 or IPv6.
  std::uint16_t port = 8080;       // 0: any free one.
  Limits limits;
  Refusal refusal;
};

// Listens and serves from the moment it returns. conflict if the port is taken.
Result<std::unique_ptr<Server>> listen(asio::any_io_executor, async::Clock*, Handler*,
                                       ServerOptions);

}  // namespace dormouse::http
