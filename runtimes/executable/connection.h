// One HTTP/1.1 connection of the function's own program: bytes in, requests out, answers back. It
// knows HTTP as src/http reads it, not what the requests mean.
//
// Ownership  Owns its socket. What is answered lives as long as the Reply's keeper.
// Threads    One. Nothing here blocks: whoever polls calls pump() when anything happened.
// Bounds     A head of 64 KiB; a body as far as its plan says, what is beyond is read and dropped.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "http/chunked.h"
#include "http/head.h"
#include "wire/socket.h"

namespace dormouse::executable {

class Connection;

// What becomes of a request's body.
struct Plan {
  enum class Kind : std::uint8_t { keep, stream };
  Kind kind = Kind::keep;
  std::uint64_t bytes_max = 0;  // keep: more is counted, and dropped.
};

struct Reply {
  int status = 200;
  std::string fields;  // Each with its CR LF.
  std::string body;
  std::string_view further;            // Behind `body`,
  std::shared_ptr<const void> keeper;  // which keeps it.
};

// Who is asked. A connection calls these in this order, once for each request.
class Service {
 public:
  virtual ~Service() = default;
  virtual Plan begin(Connection&) = 0;
  // More of a streamed body. Gives how much of it was taken: less if the rest has to wait.
  virtual std::size_t take(Connection&, std::string_view bytes) = 0;
  // The whole request is here. It is answered by Connection::reply(), now or at any time.
  virtual void complete(Connection&) = 0;
  virtual void lost(Connection&) = 0;  // Its client is gone. The last that is heard of it.
};

class Connection {
 public:
  Connection(wire::Descriptor socket, Service* service)
      : socket_(std::move(socket)), service_(service) {}
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  int socket() const { return socket_.number(); }
  short events() const;  // What to poll for.
  // Reads, goes on and writes as far as it can. False: it is over.
  bool pump(short events);

  // The request that is being received or answered.
  const http::Head& head() const { return received_.head; }
  std::string take_body() { return std::move(body_); }
  std::uint64_t body_size() const { return body_size_; }  // Also of what was dropped.
  std::optional<std::string_view> trailer(std::string_view name) const;

  void reply(Reply);

 private:
  enum class State : std::uint8_t { head, body, waits, writes, over };

  bool fill();  // False: the client is gone.
  bool flush();
  bool advance();  // True: there may be more to do.
  bool advance_head();
  bool advance_body();
  std::size_t consume(std::string_view data);
  void refuse(const http::Rejection&);

  wire::Descriptor socket_;
  Service* const service_;
  State state_ = State::head;
  std::string buffer_;       // Received, and not looked at.
  std::size_t scanned_ = 0;  // Of it, for the end of a head.
  http::ReceivedHead received_;
  Plan plan_;
  std::uint64_t body_left_ = 0;  // Unless it is chunked.
  std::optional<http::ChunkedFraming> chunks_;
  std::string body_;
  std::uint64_t body_size_ = 0;
  std::string out_;
  std::string_view further_;
  std::shared_ptr<const void> keeper_;
  bool closes_ = false;
};

}  // namespace dormouse::executable
