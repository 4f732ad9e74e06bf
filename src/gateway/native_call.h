// Private to gateway: what its other dialects share with the native one. Defined in gateway.cc.
#pragma once

#include <string_view>

#include "fleet/fleet.h"
#include "gateway/route.h"
#include "http/server.h"

namespace dormouse::gateway {

// Of a function that takes and gives tensors, so that JSON is translated for it; else nullptr.
const wire::Signature* raw_signature(const catalog::Revision&);

// The JSON `text` as the tensors that `call` is given. Blocks on long texts.
Result<> fill_tensors(fleet::Invocation& call, std::string_view text, const wire::Signature&);

// A large one goes to the worker in a memfd: it is put there. Blocks on large ones.
Result<http::Body> body_of(std::string bytes);

// What is not tensors, whole or as a stream.
http::Response bytes_response(fleet::Answer);

http::Response json_response(std::string body, int status = 200);

}  // namespace dormouse::gateway
