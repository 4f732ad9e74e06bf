// With what the control API may be called. Pure.
#pragma once

#include "base/result.h"
#include "control/routes.h"
#include "http/message.h"

namespace dormouse::control {

// A write has the content type that its route declares, so that no HTML form can send it.
Result<> check_content_type(const http::Head&, Accepts);

}  // namespace dormouse::control
