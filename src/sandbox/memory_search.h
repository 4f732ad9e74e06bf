// What lies in the memory of a process. Only this module's files include it.
#pragma once

#include <sys/types.h>

#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace dormouse::sandbox {

// Which of these values, by their place, a process has in memory that is its own or that it can
// write. What it only reads of files is not looked at, nor what it was never given pages for. Reads
// about 1 GB/s; blocks.
// Errors  not_found: it has ended. unsupported: it has reserved more addresses than are
//         looked through (64 GiB).
Result<std::vector<std::size_t>> values_in_memory(pid_t, std::span<const std::string> values);

}  // namespace dormouse::sandbox
