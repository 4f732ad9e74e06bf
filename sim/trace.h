// Invocations per minute and memory of the functions of a trace in the form of the Azure Functions
// 2019 data set: invocations.csv (a column per minute) and memory.csv, joined by HashFunction.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"

namespace dormouse::sim {

struct TracedFunction {
  std::string name;
  double megabytes = 0;                  // Mean of what it had allocated.
  std::vector<std::uint32_t> by_minute;  // Invocations.
};

struct Trace {
  std::vector<TracedFunction> functions;
  std::size_t minutes = 0;
};

// invalid_argument if a file is missing or has not the columns that are needed.
Result<Trace> read_trace(const std::filesystem::path& folder);

}  // namespace dormouse::sim
