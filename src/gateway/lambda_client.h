// What a client of AWS Lambda's API says of itself, ClientContext: from the header's base64 to the
// text that workers are given. Pure.
//
// It is anybody's: bounded before it is read, and for the function alone. No log has it, and no
// receipt.
#pragma once

#include <string>

#include "base/result.h"
#include "http/message.h"

namespace dormouse::gateway {

inline constexpr const char* client_context_field = "X-Amz-Client-Context";
inline constexpr std::size_t client_context_base64_bytes_max = 3583;  // As AWS has it.

// "" if nothing is said. Otherwise a JSON object of the same values, in ASCII and without control
// bytes, as the Runtime API's header can have it. invalid_argument if it is no such object.
Result<std::string> read_client_context(const http::Fields&);

}  // namespace dormouse::gateway
