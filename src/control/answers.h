// What the domain's values look like as JSON: the forms that openapi.cc describes. Pure.
#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <vector>

#include "catalog/catalog.h"
#include "conversations/conversations.h"
#include "fleet/fleet.h"
#include "gateway/json.h"
#include "ledger/ledger.h"
#include "logs/logs.h"
#include "sandbox/sandbox.h"
#include "secrets/secrets.h"

namespace dormouse::control {

json::object finding_json(const sandbox::Finding&);
json::object summary_json(const catalog::Revision&, const fleet::Status&, const ledger::Sum&);
json::object detail_json(const catalog::Revision&, const fleet::Status&, const fleet::Details&,
                         const ledger::Sum&);
json::object revision_summary_json(const catalog::Revision&, bool active);
json::object revision_json(const catalog::Revision&);
json::object line_json(const logs::Line&);
json::object sum_json(const ledger::Sum&);
json::object receipt_json(const ledger::Receipt&, const std::string& currency);
json::object conversation_json(const conversations::Entry&);
json::object secret_json(const secrets::Fact&, const std::vector<std::string>& functions);
json::object fault_json(const Error&);  // What is under "error".

}  // namespace dormouse::control
