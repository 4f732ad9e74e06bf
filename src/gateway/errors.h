// How an Error looks over HTTP: one status for each Code, one JSON form for all.
//
//   {"error": {"code": "throttled", "message": "…", "blame": "caller", "invocation": "…"}}
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "base/time.h"
#include "http/message.h"
#include "http/server.h"

namespace dormouse::gateway {

int http_status(Code);

// The object above. `invocation` is left out if empty.
std::string error_json(const Error&, std::string_view invocation = {});

// With Retry-After where repeating helps: `retry_after` in whole seconds, at least 1.
http::Response error_response(const Error&, std::string_view invocation = {},
                              Duration retry_after = {});

// A body that has more bytes than its function takes.
Error too_long(std::string_view function, std::int64_t bytes_max);
// A function that was deployed anew, with another runtime, since its request was admitted.
Error became_another();

}  // namespace dormouse::gateway
