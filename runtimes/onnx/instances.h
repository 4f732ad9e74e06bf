// What a worker has for being a template, by dormouse.h.
#pragma once

#include "base/result.h"

namespace dormouse::onnx {

// Of a worker that will not fork: it has no use for what a template needs.
Result<> give_up_capabilities();

}  // namespace dormouse::onnx
