#include "control/access.h"

#include "base/ascii.h"

namespace dormouse::control {

Result<> check_content_type(const http::Head& head, Accepts accepts) {
  if (accepts == Accepts::nothing) return ok;
  const std::string_view wanted =
      accepts == Accepts::json ? "application/json" : "application/octet-stream";
  if (is_media_type(head.fields.find("Content-Type").value_or(""), wanted)) return ok;
  return Error{Code::unsupported, "the Content-Type must be " + std::string(wanted)};
}

}  // namespace dormouse::control
