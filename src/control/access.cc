#include "control/access.h"

#include "base/ascii.h"

namespace dormouse::control {

Result<> check_content_type(const http::Head& head, Accepts accepts) {
  if (accepts == Accepts::nothing) return ok;
  const std::string_view wanted =
      accepts == Accepts::json ? "application/json" : "application/octet-stream";
  const std::string given = lower(head.fields.find("Content-Type").value_or(""));
  std::string_view type = std::string_view(given).substr(0, given.find(';'));
  while (type.ends_with(' ')) type.remove_suffix(1);
  if (type == wanted) return ok;
  return Error{Code::unsupported, "the Content-Type must be " + std::string(wanted)};
}

}  // namespace dormouse::control
