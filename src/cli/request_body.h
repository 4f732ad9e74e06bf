// What is sent to a function, and what it is.
#pragma once

#include <string>

#include "base/result.h"

namespace dormouse::cli {

struct RequestBody {
  std::string bytes;
  std::string type;  // Its content type.
};

RequestBody body_of_text(std::string text);  // JSON, if it is that.
// By its name; octets if that says nothing.
Result<RequestBody> body_of_file(const std::string& path);

}  // namespace dormouse::cli
