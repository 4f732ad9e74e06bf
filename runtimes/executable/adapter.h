// The worker of the runtime `executable`: starts the function's program, and either serves it the
// Lambda Runtime API, or leaves the wire to it if it speaks that itself (include/dormouse.h).
//
// Which of the two it does shows only in what it does: whoever asks this API for work does not
// speak the wire. Until then descriptor 3 is not read here, and written to for no other reason.
//
// Or the worker of a runtime whose interpreter boots beforehand, and speaks that API to serve a
// function's handler.
//
// Threads  One, which never blocks once the program runs.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runtimes/executable/clients.h"
#include "runtimes/executable/interpreter.h"
#include "runtimes/executable/runtime_api.h"

namespace dormouse::executable {

class Adapter {
 public:
  // `interpreter`: its command line; empty: the program is the function's own.
  Adapter(int socket, std::vector<std::string> interpreter)
      : wire_(socket), receiver_(socket), command_(std::move(interpreter)) {}

  // Gives the exit status: the program's, once there is one.
  int run();

 private:
  bool say_hello();
  Result<> begin();
  Result<> start_program();
  int serve();
  std::optional<int> turn();  // An exit status: it is over.
  std::optional<int> hear();
  int leave(int status);

  wire::WorkerEnd wire_;
  wire::FrameReceiver receiver_;
  const std::vector<std::string> command_;
  std::optional<Interpreter> interpreter_;
  wire::Options options_;
  std::optional<RuntimeApi> api_;
  std::optional<Clients> clients_;  // Go before the API that they call.
  wire::Descriptor child_ended_;    // Readable when a child has.
  pid_t child_ = 0;
  bool hears_ = false;  // The wire is ours.
  bool draining_ = false;
};

}  // namespace dormouse::executable
