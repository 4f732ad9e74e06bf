// The function's own program, /code/bootstrap, as a child process in a group of its own.
#pragma once

#include <sys/types.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "wire/messages.h"
#include "wire/socket.h"

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

// The files of the code's first folder, for an error: "app.py, lib".
std::string names_there();

// Readable when a child has ended, instead of SIGCHLD.
wire::Descriptor ends_of_children();
// After it was: the exit status of this child, or 128 + the number of the signal that ended it;
// nullopt if it was another one.
std::optional<int> status_of(pid_t child, const wire::Descriptor& ends);

}  // namespace dormouse::executable
