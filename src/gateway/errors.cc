#include "gateway/errors.h"

#include <algorithm>
#include <boost/json.hpp>

#include "base/utf8.h"
#include "gateway/json.h"

namespace dormouse::gateway {
namespace {

bool repeating_helps(Code code) {
  return code == Code::throttled || code == Code::overloaded || code == Code::unavailable;
}

}  // namespace

int http_status(Code code) {
  switch (code) {
    case Code::invalid_argument: return 400;
    case Code::unauthorized: return 401;
    case Code::not_found: return 404;
    case Code::conflict: return 409;
    case Code::too_large: return 413;
    case Code::unsupported: return 415;
    case Code::throttled: return 429;
    case Code::cancelled: return 499;
    case Code::function_failed: return 502;
    case Code::overloaded: return 503;
    case Code::unavailable: return 503;
    case Code::deadline_exceeded: return 504;
  }
  CHECK_UNREACHABLE("every Code has a status");
}

std::string error_json(const Error& error, std::string_view invocation) {
  json::object body;
  body["code"] = name(error.code);
  body["message"] = valid_utf8(error.message);
  body["blame"] = name(blame(error.code));
  if (!invocation.empty()) body["invocation"] = invocation;
  json::object whole;
  whole["error"] = std::move(body);
  return json::serialize(whole);
}

http::Response error_response(const Error& error, std::string_view invocation,
                              Duration retry_after) {
  http::Response response;
  response.status = http_status(error.code);
  response.fields.add("Content-Type", "application/json");
  if (repeating_helps(error.code) || retry_after > Duration(0)) {
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(retry_after).count();
    response.fields.add("Retry-After", std::to_string(std::max<std::int64_t>(1, seconds)));
  }
  if (error.code == Code::unauthorized) response.fields.add("WWW-Authenticate", "Bearer");
  response.body = http::Body(error_json(error, invocation) + "\n");
  return response;
}

Error too_long(std::string_view function, std::int64_t bytes_max) {
  return {Code::too_large, "the body has more than the " + std::to_string(bytes_max) +
                               " bytes that \"" + std::string(function) +
                               "\" takes; `max_body` in its manifest sets that"};
}

Error became_another() {
  return {Code::unavailable, "the function has just become another one; call it again"};
}

}  // namespace dormouse::gateway
