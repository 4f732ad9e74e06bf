// The worker of the runtime `web`: starts the function's program, an HTTP server, and says when it
// listens on its port. Calls go past this worker, straight to that port.
//
// The program finds the container contract of Cloud Run and Knative in its environment: PORT,
// K_SERVICE, K_REVISION, K_CONFIGURATION; and in DORMOUSE_API where it calls other functions. Asked
// to leave it gets SIGTERM.
//
// Threads  One.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "runtimes/executable/clients.h"
#include "runtimes/executable/functions_api.h"
#include "wire/messages.h"
#include "wire/socket.h"
#include "wire/worker_end.h"

namespace dormouse::executable {

class WebProgram {
 public:
  explicit WebProgram(int socket) : wire_(socket), receiver_(socket), api_(&wire_) {}

  // Gives the exit status: the program's, once there is one.
  int run();

 private:
  Result<> begin();
  int serve();
  std::optional<int> turn();  // An exit status: it is over.
  std::optional<int> look();  // Whether the program listens.
  std::optional<int> hear();

  wire::WorkerEnd wire_;
  wire::FrameReceiver receiver_;
  FunctionsApi api_;
  std::optional<Clients> clients_;  // Go before the API that they call.
  wire::Options options_;
  wire::Descriptor child_ended_;  // Readable when a child has.
  pid_t child_ = 0;
  std::uint64_t give_up_at_us_ = 0;
  bool listens_ = false;
  int looks_ = 0;
};

// Pure: where somebody listens, by a table of TCP sockets as /proc/net/tcp and tcp6 have it.
std::set<std::uint16_t> listening_ports(std::string_view table);

}  // namespace dormouse::executable
