// A blocking HTTP/1.1 client over one kept-alive TCP connection, for the command line and tests.
// Not for the daemon: it has no use for a client.
//
// Errors     unavailable when there is no server, or it went away; deadline_exceeded;
//            cancelled. The message of an answer that broke off says so.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "http/message.h"

namespace dormouse::http {

struct ClientRequest {
  std::string method = "GET";
  std::string target = "/";
  Fields fields;
  std::string_view body;
  std::chrono::milliseconds timeout{60'000};  // Without any progress.
  int interrupt = -1;                         // A descriptor: cancelled, once it is readable.
};

struct ClientResponse {
  int status = 0;
  Fields fields;  // Trailers are appended.
  std::string body;
};

// Bytes of a body, as they come; `head` is the answer without it. False hangs up.
using Piece = std::function<bool(const ClientResponse& head, std::string_view bytes)>;

class Client {
 public:
  virtual ~Client() = default;
  virtual Result<ClientResponse> send(const ClientRequest&) = 0;
  // As send(), but the body is given to `piece`.
  virtual Result<ClientResponse> stream(const ClientRequest&, const Piece& piece) = 0;
};

// `url` is "http://host:port"; anything else is invalid_argument. Connects on first use, and again
// after the server closed an idle connection.
Result<std::unique_ptr<Client>> connect(std::string_view url);

}  // namespace dormouse::http
