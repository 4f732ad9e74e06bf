// The dialect of functions whose program is an HTTP server: requests are passed on to it as they
// come, and its responses back, WebSockets included.
//
//   /f/{name}/any/path?query    → /any/path?query, with X-Forwarded-Prefix: /f/{name}
//   http://{name}.localhost/…   → the path as it is, and in both cases as it was spelled
//
// The program is told X-Forwarded-For, -Host, -Proto and -Prefix and Dormouse-Invocation, and is
// not told the caller's key. The client is told Dormouse-Invocation; and what add_fields() has,
// ahead of a response that was whole at once, or else in the trailers of one of unknown length.
#pragma once

#include <memory>
#include <string>

#include "fleet/fleet.h"
#include "gateway/keys.h"
#include "http/server.h"

namespace dormouse::gateway {

struct WebRequest {
  InvocationId id;
  std::string target;       // For the program: path and query as they came.
  std::string prefix;       // "/f/name", or empty.
  Keys::Accepted left_out;  // The fields that hold the caller's key.
};

// From the dispatch of the call to the end of its response.
asio::awaitable<void> serve_web(async::Clock*, http::Exchange*, std::unique_ptr<fleet::Lease>,
                                WebRequest);

// An answer of ours.
asio::awaitable<void> send(http::Exchange*, http::Response);

}  // namespace dormouse::gateway
