#include "control/module_function.h"

#include <algorithm>

#include "control/secret_uses.h"

namespace dormouse::control {
namespace {

bool is_module(std::string_view name) {
  return std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  });
}

}  // namespace

Result<> check_module_function(std::string_view handler) {
  const auto refused = [&](std::string_view why) {
    return Error{Code::invalid_argument, "handler: \"" + std::string(handler) +
                                             "\" is not allowed (" + std::string(why) +
                                             "); allowed is MODULE.FUNCTION, as app.handler"};
  };
  if (handler.empty()) {
    return Error{Code::invalid_argument, "handler is missing: say module.function, as app.handler"};
  }
  const auto last = handler.rfind('.');
  if (last == handler.npos) return refused("no \".\" before the function");
  if (!is_variable(handler.substr(last + 1))) return refused("no function after the last \".\"");
  for (std::string_view rest = handler.substr(0, last);;) {
    const auto end = std::min(rest.find_first_of("./"), rest.size());
    if (end == 0) return refused("an empty part");
    if (!is_module(rest.substr(0, end))) return refused("not a module's name");
    if (end == rest.size()) return ok;
    rest.remove_prefix(end + 1);
  }
}

}  // namespace dormouse::control
