// Changes the links, addresses and routes of one network namespace: that of the thread which opened
// it, wherever that thread goes later. Speaks NETLINK_ROUTE; each call waits for the kernel's
// answer.
//
// Errors   unavailable, with what the kernel said.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "sandbox/addresses.h"
#include "wire/socket.h"

namespace dormouse::sandbox {

// Two interfaces, of which each gets what the other sends. Indices tell them apart from then on.
struct Veth {
  std::string name;
  int index = 0;  // 0: any that is free.
  std::uint32_t group = 0;
  std::string peer_name;
  int peer_index = 0;
  int peer_namespace = -1;  // A descriptor.
};

class RouteSocket {
 public:
  static Result<RouteSocket> open();

  Result<> make_veth(const Veth&);                // Both ends down. `conflict`: the name is taken.
  Result<> remove_link(const std::string& name);  // With its peer. ok if there is none.
  Result<> bring_up(int index);                   // Without an address of IPv6.
  Result<> add_address(int index, Ipv4 address, int prefix);
  Result<> add_default_route(Ipv4 gateway);

 private:
  explicit RouteSocket(wire::Descriptor socket) : socket_(std::move(socket)) {}
  int exchange(const std::string& message);  // Gives 0 or an errno.
  Result<> ask(const std::string& message, std::string_view attempt);
  wire::Descriptor socket_;
};

}  // namespace dormouse::sandbox
