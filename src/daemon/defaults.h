// What the configuration leaves open, found out on this machine.
#pragma once

#include <map>
#include <string>

#include "base/resources.h"
#include "cli/config.h"
#include "control/access.h"
#include "fleet/fleet.h"
#include "sandbox/sandbox.h"

namespace dormouse::daemon {

// 80 % of the memory and all CPUs, unless configured.
Resources node_resources(const cli::DaemonConfig&);
std::string node_name(const cli::DaemonConfig&);  // The host's name, unless configured.

// The configured runtimes, over those that were installed with this program: root file systems in
// ../lib/dormouse/runtimes, or in the build tree's roots.
std::map<std::string, fleet::Runtime> runtimes(const cli::DaemonConfig&);

control::Hosts known_hosts(const cli::DaemonConfig&);
sandbox::LauncherOptions launcher_options(const cli::DaemonConfig&);

}  // namespace dormouse::daemon
