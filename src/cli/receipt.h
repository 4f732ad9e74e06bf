// A receipt as people read it. Pure.
#pragma once

#include <boost/json/value.hpp>
#include <string>

#include "gateway/json.h"

namespace dormouse::cli {

// The answer of /api/v1/invocations/{id}: each attempt as a table.
std::string receipts_text(const json::value& answer);

}  // namespace dormouse::cli
