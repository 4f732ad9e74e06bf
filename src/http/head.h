// The head of an HTTP/1.1 request (RFC 9112), from bytes to a value. One strict reading, so that
// nobody before or behind us can read the same bytes differently: whatever is ambiguous, or legal
// but used by nobody except in attacks, is refused. Pure. docs/formats/http.md lists what is.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include "http/message.h"
#include "http/rejection.h"

namespace dormouse::http {

// A request's head, and what it says about this connection rather than about the request.
struct ReceivedHead {
  Head head;
  bool version_1_0 = false;
  bool chunked = false;
  bool keep_alive = true;         // What the client asked for, or its version's default.
  bool expects_continue = false;  // It waits for "100 Continue" before it sends the body.

  bool has_body() const { return chunked || head.content_length.value_or(0) > 0; }
};

struct HeadLimits {
  std::size_t bytes_max = 32 * 1024;        // All of the head: 431 above.
  std::size_t target_bytes_max = 8 * 1024;  // 414 above.
  std::size_t fields_max = 100;             // 431 above.
};

// Where the head in `buffer` ends (after its empty line); nullopt if more has to come. `scanned`
// bytes were looked at by earlier calls: only what follows them is.
Accepted<std::optional<std::size_t>> find_head_end(std::string_view buffer, std::size_t scanned,
                                                   const HeadLimits&);

// `raw` is a whole head, its empty line included.
Accepted<ReceivedHead> parse_head(std::string_view raw, const HeadLimits&);

// The fields of a trailer section, one CRLF-terminated line each, without the empty line.
Accepted<Fields> parse_fields(std::string_view raw, std::size_t fields_max);

bool is_token(std::string_view);        // RFC 9110 §5.6.2: what a field name is made of.
bool is_field_value(std::string_view);  // No control byte but HTAB.
bool equals_ignoring_case(std::string_view, std::string_view);

}  // namespace dormouse::http
