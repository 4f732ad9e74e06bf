// The JSON in which the Runtime API says what went wrong, both ways. Pure.
#pragma once

#include <string>
#include <string_view>

#include "wire/messages.h"

namespace dormouse::executable {

// What a program said of an error: in one line, "ValueError: no such name", and as it said it, if
// that is no longer than a frame has room for, and can be written as JSON again. `type_header` is
// what its header named, for a document that names no type, or is none.
wire::Failure failure_of(std::string_view document, std::string_view type_header);

// {"errorMessage": …, "errorType": …}
std::string error_document(std::string_view type, std::string_view message);

// {"error": {"code": …, "message": …}}
std::string call_error_document(std::string_view code, std::string_view message);

// Empty if it is not base64.
std::string from_base64(std::string_view text);

}  // namespace dormouse::executable
