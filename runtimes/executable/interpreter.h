// An interpreter that is started before it is known for whom: it waits in a blank sandbox, booted,
// and becomes a function when it is told to. How the two speak is docs/formats/runtime-api.md's.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "runtimes/executable/bootstrap.h"
#include "wire/socket.h"

namespace dormouse::executable {

class Interpreter {
 public:
  // Waits until it has booted. The Error says why it did not.
  static Result<Interpreter> boot(const std::vector<std::string>& argv);

  pid_t process() const { return process_; }
  const std::string& version() const { return version_; }  // "20.20.2", as it says.

  // It takes the environment and loads the code. Once.
  Result<> become(const Surroundings&);

 private:
  pid_t process_ = 0;
  wire::Descriptor end_;  // Of the socket that is its descriptor 0.
  std::string version_;
};

}  // namespace dormouse::executable
