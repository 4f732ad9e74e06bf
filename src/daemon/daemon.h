// The platform as one process: built from the bottom of the module list to the top, and stopped the
// other way around. It only wires.
#pragma once

#include "base/result.h"
#include "cli/config.h"

namespace dormouse::daemon {

// Serves until SIGTERM or SIGINT, then drains; SIGHUP: reads the key file again. An Error: it could
// not start, and left nothing.
Result<> serve(const cli::DaemonConfig&);

}  // namespace dormouse::daemon
