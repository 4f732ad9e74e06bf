// What every dialect's response carries about its invocation. Pure.
//
//   Dormouse-Invocation: 018f3b2e-…      always, for `dormouse receipt`
//   Dormouse-Revision: read-text-line@3
//   Dormouse-Cost: 0.0000021             in the rate card's currency, exact
//   Dormouse-Billed-Ms: 12
//   Server-Timing: queue;dur=0.02, wake-sandbox;dur=0.0, wake-code;dur=0.9, wake-load;dur=21,
//   run;dur=11.9
#pragma once

#include "fleet/fleet.h"
#include "http/message.h"

namespace dormouse::gateway {

void add_fields(http::Fields&, const InvocationId&, const ledger::ReceiptPtr&);

}  // namespace dormouse::gateway
