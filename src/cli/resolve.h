// What a configuration leaves open, found out on this machine.
#pragma once

#include <filesystem>
#include <optional>

#include "cli/config.h"
#include "sandbox/devices.h"

namespace dormouse::cli {

// `config` with everything filled in:
//   node       80 % of the memory, all CPUs
//   node_name  the host's name
//   runtimes   those that come with the program, in ../lib/dormouse/runtimes beside it or in the
//              build tree's roots, under those that are configured
DaemonConfig resolve(DaemonConfig config);

Resources host_resources();  // All of its memory and CPUs.

// The runtime llm-cuda: the programs in the root of `llm`, with cards to compute on. nullopt if a
// card lacks, or what computes there.
std::optional<fleet::Runtime> runtime_on_cards(const std::filesystem::path& root_of_llm,
                                               const sandbox::NvidiaDevices&);

}  // namespace dormouse::cli
