// How the head of a response looks on the wire. Pure.
//
// What belongs to the connection is the server's alone: Connection, Content-Length, Date,
// Keep-Alive, TE, Trailer, Transfer-Encoding and Upgrade are left out of what a Handler gives.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/time.h"
#include "http/message.h"

namespace dormouse::http {

// What follows the head, as the head has to announce it.
struct Framing {
  enum class Kind : std::uint8_t { none, sized, chunked, until_close };
  Kind kind = Kind::sized;
  std::uint64_t size = 0;       // Of a sized one.
  std::string_view connection;  // "close", "keep-alive", "Upgrade" or "" to say nothing.
  std::string_view upgrade;     // With "Upgrade": to what.
};

// False if a status or a field cannot be sent as it is: text that came from a function must not
// become a second header or a second response.
bool may_be_sent(int status, const Fields&);

// Appends the head, ending with its empty line. `date` is http_date()'s.
void append_head(std::string& out, int status, const Fields&, const Framing&,
                 std::string_view date);
void append_fields(std::string& out, const Fields&);

void append_chunk_size(std::string& out, std::uint64_t size);
void append_last_chunk(std::string& out, const Fields& trailers);

bool may_have_body(int status);       // Not 1xx, 204, 304.
std::string_view reason(int status);  // "Not Found"; "" if it has none.
std::string http_date(WallTime);      // "Sun, 06 Nov 1994 08:49:37 GMT"

}  // namespace dormouse::http
