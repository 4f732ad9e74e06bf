// The head of an HTTP/1.1 request (RFC 9112), from bytes to a value. One strict reading, so that
// nobody before or behind us can read the same bytes differently: whatever is ambiguous, or legal
// but used by nobody except in attacks, is refused, but for what only_passed() names. Pure.
// docs/formats/http.md lists what is.
#pragma once

#include <cstddef>
#include <memory>
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
  std::string wanted_upgrade;     // "websocket", and no other protocol: to go on with, if it may.
  bool encoded = false;           // Its body.

  bool has_body() const { return chunked || head.content_length.value_or(0) > 0; }
};
using ReceivedHeadPtr = std::shared_ptr<const ReceivedHead>;

// Why a request can be passed on, as it came, to a server that is to make sense of it, and nothing
// else: its path is ambiguous (http/target.h), or its body encoded.
std::optional<Rejection> only_passed(const ReceivedHead&);

struct HeadLimits {
  std::size_t bytes_max = 32 * 1024;        // All of the head: 431 above.
  std::size_t target_bytes_max = 8 * 1024;  // 414 above.
  std::size_t fields_max = 100;             // 431 above.
  bool may_be_passed_on = false;            // What only_passed() names is not refused here.
};

// Where the head in `buffer` ends (after its empty line); nullopt if more has to come. `scanned`
// bytes were looked at by earlier calls: only what follows them is.
Accepted<std::optional<std::size_t>> find_head_end(std::string_view buffer, std::size_t scanned,
                                                   const HeadLimits&);

// The path in a request line at the start of `buffer`, as it came: not checked, not decoded, and
// cut off where the buffer is. Empty if there is none. For who says why a head was refused.
std::string_view path_in(std::string_view buffer);

// `raw` is a whole head, its empty line included.
Accepted<ReceivedHead> parse_head(std::string_view raw, const HeadLimits&);

// A response's head, from a server that is not trusted (RFC 9112 §6.3).
struct ReceivedResponse {
  int status = 0;  // 101, or 200 to 599: heads of 100 to 199 that say nothing are for skipping.
  Fields fields;
  std::optional<std::uint64_t> content_length;
  bool has_body = false;  // If it has one that is neither sized nor chunked, it ends with the
  bool chunked = false;   // connection.
  bool keep_alive = false;
};

// `raw` is a whole head, its empty line included. `to_head`: the request was HEAD.
Accepted<ReceivedResponse> parse_response_head(std::string_view raw, const HeadLimits&,
                                               bool to_head);

// The fields of a trailer section, one CRLF-terminated line each, without the empty line.
Accepted<Fields> parse_fields(std::string_view raw, std::size_t fields_max);

// Among the elements, which the fields of this name list.
bool lists(const Fields&, std::string_view name, std::string_view element);
bool has_option(const Fields&, std::string_view);  // Connection lists it.
bool is_token(std::string_view);                   // RFC 9110 §5.6.2: what a field name is made of.
bool is_field_value(std::string_view);             // No control byte but HTAB.
bool equals_but_for_case(std::string_view, std::string_view);  // Of the same length.
inline bool equals_ignoring_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() && equals_but_for_case(a, b);
}

}  // namespace dormouse::http
