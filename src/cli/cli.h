// The command line: `dormouse serve` runs the platform, every other command is a call of the
// control API of one that runs.
#pragma once

#include <functional>

#include "base/result.h"
#include "cli/config.h"

namespace dormouse::cli {

// Serves until it is told to stop; an Error says why it could not start.
using ServeFunction = std::function<Result<>(const DaemonConfig&)>;

// The whole of main(): gives the exit status, as shell.h lists them.
int run(int argc, char** argv, ServeFunction serve);

}  // namespace dormouse::cli
