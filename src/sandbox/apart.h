// A program of ours that parses what a stranger wrote, in a process that can do nothing else: for
// the moment that it takes, without the weight of a sandbox that functions have.
//
// The process has two descriptors, what it reads and what it writes to, and makes no more. Before
// it reads anything it gives up: its user, every capability, the file system (its root is an empty
// folder that goes with it), the network and every other namespace, and all system calls but those
// to read, to write and to have memory. Memory, processor time and what it writes are bounded, and
// it ends with whoever started it.
// Whatever goes wrong in there costs an error; what it wrote is as little to be trusted as what it
// read.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"

namespace dormouse::sandbox {

struct ApartLimits {
  std::uint64_t memory_bytes_max = 512 << 20;
  std::uint64_t output_bytes_max = 0;
  std::uint64_t cpu_seconds_max = 60;
};

// Outside. Starts `program`, a path, and blocks until it has ended; after `patience` it is killed.
// invalid_argument: it did not end well, for which what it read is to blame.
struct ApartCommand {
  std::string program;
  std::vector<std::string> argv;  // argv[0] included.
  int input = -1;                 // Its descriptor 0.
  int output = -1;                // Its descriptors 1 and 2.
  Duration patience = std::chrono::minutes(2);
};
Result<> run_apart(const ApartCommand&);

// Inside, first of all. Ends the process if any of it cannot be given up.
void give_everything_up(const ApartLimits&);

}  // namespace dormouse::sandbox
