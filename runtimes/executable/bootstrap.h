// The function's own program, /code/bootstrap, as a child process in a group of its own.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "wire/messages.h"

namespace dormouse::executable {

inline constexpr const char* code_folder = "/code";

struct Surroundings {
  const wire::Options& options;  // Of `load`.
  int port;                      // Of the Runtime API.
  int wire_socket;               // It inherits it, for programs that speak the wire themselves.
};

// What a function's program finds in its environment: docs/formats/runtime-api.md.
std::map<std::string, std::string> environment(const Surroundings&);

// Executes argv[0] as a child process in a group of its own, with `input` as descriptor 0 unless it
// is below 0; it inherits what is not closed on exec. Gives its id; the Error of one that cannot be
// executed holds errno's text.
Result<pid_t> execute(const std::vector<std::string>& argv,
                      const std::map<std::string, std::string>& environment, int input);

// Gives its process id. invalid_argument, for the user to read, if there is no such program or it
// cannot be executed.
Result<pid_t> start_bootstrap(const Surroundings&);

// "it exited with status 3" or the signal's number, as an exit status: 128 + the signal's.
int exit_status_of(int wait_status);

}  // namespace dormouse::executable
