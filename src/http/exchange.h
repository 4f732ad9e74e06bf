// One request whose body is read as it comes, and whose response is written as it is made: for a
// Handler that passes both on.
//
//   read() … read()  beside  begin() write() … write() finish()
//
// Reading and writing may go on at the same time, in two coroutines; each of them in one at a time.
//
// Errors     cancelled: the client went away. deadline_exceeded: it was too slow to take what was
//            written, or, before the response begins, to send its body, which has to come at the
//            pace that every body must have. invalid_argument, too_large: of a body, in words for
//            the client.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "async/clock.h"
#include "http/message.h"

namespace dormouse::http {

// The head of a response. Fields that belong to the connection are left out of it, as everywhere.
struct Opening {
  int status = 200;
  Fields fields;
  std::optional<std::uint64_t> size;  // Of the body, if that is known.
  bool has_body = true;
  std::string upgrade;  // With status 101: the protocol that both sides speak from here on.
};

class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual const Head& head() const = 0;
  virtual const std::string& peer() const = 0;  // The client's address: "127.0.0.1".
  // The protocol that the client asks to go on with, if it may: "websocket".
  virtual std::string_view wanted_upgrade() const = 0;

  // The request's whole body, if it is here already, or there is none: nothing is left to read()
  // then. The view lives until the next read().
  virtual std::optional<std::string_view> take_whole() = 0;
  // More of it, nullopt at its end. The view lives until the next read(). After an upgrade:
  // whatever the client sends, until it closes.
  virtual asio::awaitable<Result<std::optional<std::string_view>>> read() = 0;

  // Noted, and sent with what is written next. False: it cannot be sent as it is.
  virtual bool begin(Opening) = 0;
  // Sends it, an empty piece too: then only the head. It must live until then.
  virtual asio::awaitable<Result<>> write(std::string_view piece) = 0;
  // Ends a body whose size was not known, with trailers if the client can be told any.
  virtual asio::awaitable<Result<>> finish(Fields trailers) = 0;
};

}  // namespace dormouse::http
