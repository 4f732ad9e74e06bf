// The JSON in which the Runtime API says what went wrong, both ways. Pure.
#pragma once

#include <string>
#include <string_view>

namespace dormouse::executable {

// What a program said of an error, in one line for the caller: "ValueError: no such name".
// `type_header` is what its header named, for a document that names no type, or is none.
std::string words_of(std::string_view document, std::string_view type_header);

// {"errorMessage": …, "errorType": …}
std::string error_document(std::string_view type, std::string_view message);

// {"error": {"code": …, "message": …}}
std::string call_error_document(std::string_view code, std::string_view message);

// Empty if it is not base64.
std::string from_base64(std::string_view text);

}  // namespace dormouse::executable
