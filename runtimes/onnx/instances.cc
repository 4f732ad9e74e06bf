#include "runtimes/onnx/instances.h"

#include <unistd.h>

#include <cstdlib>

#include "runtimes/include/dormouse.h"

namespace dormouse::onnx {

Result<> fork_instances(int socket) {
  for (dormouse_slot slot{}; dormouse_wait_fork(socket, &slot) == 1;) {
    if (fork() == 0) {
      if (dormouse_enter(socket, &slot) == 0) return ok;
      return system_error(Code::unavailable, "entering its slot");
    }
    close(slot.socket);  // If there is no fork, the daemon sees its end.
    close(slot.output);
  }
  std::exit(0);
}

Result<> give_up_capabilities() {
  if (dormouse_drop_capabilities() == 0) return ok;
  return system_error(Code::unavailable, "giving up capabilities");
}

}  // namespace dormouse::onnx
