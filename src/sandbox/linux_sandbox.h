// A running sandbox: watches its process and its memory limit, and takes it away at the end.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "async/thread.h"
#include "sandbox/estate.h"
#include "sandbox/launch.h"
#include "sandbox/router.h"
#include "sandbox/sandbox.h"

namespace dormouse::sandbox {

// What all sandboxes of a launcher share; outlives them.
struct Workshop {
  Workshop(Estate of, std::size_t uid_ranges, std::vector<Ipv4> resolvers_)
      : estate(std::move(of)),
        resolvers(std::move(resolvers_)),
        uid_ranges_taken(uid_ranges),
        router(&estate) {}

  const Estate estate;
  const std::vector<Ipv4> resolvers;
  std::vector<std::atomic<bool>> uid_ranges_taken;
  Router router;  // Of the next thread alone, until that has ended.
  async::Thread networking{
      "networking"};  // Not in the host's network namespace, once there is a router.
  async::Thread starting{"starting"};    // One OCI runtime at a time: each takes a core for itself.
  async::Thread revealing{"revealing"};  // Apart, so that a wake never waits for a start.
  async::Thread removing{"removing"};
  async::Thread slotting{"slotting"};    // Alone in its mount namespaces.
  async::Thread admitting{"admitting"};  // A wake waits for it alone.
  async::Thread connecting{"connecting"};
  async::Thread naming{"naming"};        // Waits for nameservers.
  async::Thread searching{"searching"};  // Through whole memories.
};

struct UidRange {
  std::size_t number = 0;   // Among the workshop's.
  std::uint32_t first = 0;  // On the host.
};

std::unique_ptr<Sandbox> linux_sandbox(asio::any_io_executor, Workshop*, std::string name, UidRange,
                                       Launched);

}  // namespace dormouse::sandbox
