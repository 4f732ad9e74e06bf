// What a function's answer says of HTTP before its body, as Lambda's HttpResponseStream writes it:
// {"statusCode", "headers", "cookies"}, eight NUL bytes, and then the body. Lambda's own API hands
// it on as it is; the native dialect obeys it.
#pragma once

#include <string_view>

#include "fleet/fleet.h"
#include "http/server.h"

namespace dormouse::gateway {

inline constexpr std::size_t prelude_bytes_max = 16 << 10;

struct Prelude {
  int status = 200;
  std::string content_type = "application/octet-stream";
  http::Fields fields;  // All others, cookies too.
};

bool has_prelude(const wire::Content&);
// The JSON. function_failed names the member that cannot be obeyed.
Result<Prelude> read_prelude(std::string_view);

// Takes it off the answer, whose body is what is left then, and whose content type the one that it
// names. What cannot be obeyed, or breaks off before its end, is the outcome's error, and the
// Prelude is none.
asio::awaitable<Prelude> take_prelude(fleet::Outcome*);

}  // namespace dormouse::gateway
