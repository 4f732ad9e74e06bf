// Which web pages may ask for what, so that none that somebody happens to open can drive a node
// that listens on that person's machine. Pure.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "http/message.h"

namespace dormouse::gateway {

struct Hosts {
  // Names and addresses that the node is known by, without a port: the listen address and those of
  // the configuration. Loopback names need not be listed.
  std::vector<std::string> known;
  bool any_address = false;  // It listens on all addresses: any IP address will do as a name.
};

// For the control API. The Host must be known (DNS rebinding), and no page may ask, whatever its
// origin: functions serve pages under this node's own name.
Result<> check_origin(const http::Fields&, const Hosts&);

// For calls, where no key is needed: a page must be of a host that the node is known by, or of this
// machine. What is no page says nothing of its origin.
Result<> check_caller(const http::Fields&, const Hosts&);

}  // namespace dormouse::gateway
