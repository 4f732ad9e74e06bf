// Who may call the control API, and with what: so that no web page that somebody happens to open
// can drive a node that listens on that person's machine. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "control/routes.h"
#include "http/message.h"

namespace dormouse::control {

struct Hosts {
  // Names and addresses that the node is known by, without a port: the listen address and those of
  // the configuration. Loopback names need not be listed.
  std::vector<std::string> known;
  bool any_address = false;  // It listens on all addresses: any IP address will do as a name.
};

// The Host must be known (DNS rebinding), and no page may ask, whatever its origin: functions serve
// pages under this node's own name.
Result<> check_origin(const http::Fields&, const Hosts&);

// A write has the content type that its route declares, so that no HTML form can send it.
Result<> check_content_type(const http::Head&, Accepts);

}  // namespace dormouse::control
