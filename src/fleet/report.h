// The lines that a function's log has around what it printed, in the form that AWS Lambda's have
// and tools know. Pure.
#pragma once

#include <string>
#include <vector>

#include "catalog/catalog.h"
#include "ledger/receipt.h"

namespace dormouse::fleet {

std::string start_line(const ledger::Begun&);

// END, REPORT, and before them why it ended, if it did not end by itself.
std::vector<std::string> report_lines(const ledger::Receipt&, const catalog::Manifest&);

}  // namespace dormouse::fleet
