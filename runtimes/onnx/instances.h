// A loaded worker as a template: forks instances of itself by dormouse.h, as native programs do.
#pragma once

#include "base/result.h"

namespace dormouse::onnx {

// Forks an instance whenever the daemon wants one. Returns only in instances, whose socket `socket`
// is then. The process must have one thread.
Result<> fork_instances(int socket);

// Of a worker that will not fork: it has no use for what a template needs.
Result<> give_up_capabilities();

}  // namespace dormouse::onnx
