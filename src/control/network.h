// The manifest's field `network`: what the function may reach.
#pragma once

#include <string_view>

#include "base/result.h"
#include "catalog/catalog.h"
#include "gateway/json.h"

namespace dormouse::control {

// `none`, `outbound`, or {allow: ["HOST:PORT", …]}, at most 64 of them.
Result<catalog::Network> read_network(const json::value&);
// The same in one line: "none", "outbound", or HOST:PORT with blanks between them.
Result<catalog::Network> read_network_words(std::string_view);
json::value network_json(const catalog::Network&);

}  // namespace dormouse::control
