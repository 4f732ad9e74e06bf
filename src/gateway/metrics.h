// What the platform counts, in Prometheus' text format.
#pragma once

#include <string>

#include "fleet/fleet.h"
#include "http/server.h"

namespace dormouse::gateway {

std::string metrics_text(const fleet::Snapshot&, const http::Counters&);

}  // namespace dormouse::gateway
