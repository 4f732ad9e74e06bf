// What the HTTP server refuses by itself, in the words of the API that the request was for. Pure.
#pragma once

#include <string_view>

#include "http/server.h"

namespace dormouse::gateway {

// An http::Refusal. Which API it is, the path alone says: of a head that was refused nothing else
// may be believed. Paths of no API, and none at all, get the common form.
http::Response refusal_response(int status, std::string_view message, std::string_view path);

}  // namespace dormouse::gateway
