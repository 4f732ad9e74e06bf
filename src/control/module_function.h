// Which function of which module a runtime calls: the manifest's `handler`.
#pragma once

#include <string_view>

#include "base/result.h"

namespace dormouse::control {

// As python and node read it: "app.handler", "folder/app.handler", "pkg.app.handler", the last part
// being the function. invalid_argument, saying what is wrong.
Result<> check_module_function(std::string_view handler);

}  // namespace dormouse::control
