// YAML → JSON, bounded: no tags, no aliases, nothing twice. A plain scalar is null, a boolean or a
// number if YAML 1.2's core schema says so, and otherwise text, as every quoted one is.
#pragma once

#include <string_view>

#include "base/result.h"
#include "gateway/json.h"

namespace dormouse::cli {

// invalid_argument says in which line. An empty document is an empty map.
Result<json::value> parse_yaml(std::string_view text);

}  // namespace dormouse::cli
