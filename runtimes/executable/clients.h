// The connections that the function's own program makes to its worker: a port of the sandbox's
// loopback, which no other sandbox reaches, and who has come to it.
//
// Ownership  Owns its sockets; borrows the Service, which outlives it.
// Threads    The worker's one. Nothing here blocks: whoever polls calls go_on().
// Bounds     256 at a time; who comes then waits.
#pragma once

#include <poll.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "runtimes/executable/connection.h"

namespace dormouse::executable {

inline constexpr std::uint16_t usual_port = 9001;  // Lambda's own.

class Clients {
 public:
  // On that port; on any if it is taken.
  static Result<Clients> open(std::uint16_t port, Service*);

  int port() const;
  void add_to(std::vector<pollfd>&) const;  // What to poll for.
  // With what was found, of what was added.
  void go_on(std::span<const pollfd>);

 private:
  Clients(wire::Descriptor listener, Service* service)
      : listener_(std::move(listener)), service_(service) {}
  void accept_one();

  wire::Descriptor listener_;
  Service* service_;
  std::vector<std::unique_ptr<Connection>> connections_;
};

}  // namespace dormouse::executable
