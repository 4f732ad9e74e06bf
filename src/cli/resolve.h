// What a configuration leaves open, found out on this machine.
#pragma once

#include "cli/config.h"

namespace dormouse::cli {

// `config` with everything filled in:
//   node       80 % of the memory, all CPUs
//   node_name  the host's name
//   runtimes   those that come with the program, in ../lib/dormouse/runtimes beside it or in the
//              build tree's roots, under those that are configured
DaemonConfig resolve(DaemonConfig config);

}  // namespace dormouse::cli
