// The invariants of reliability: what must hold between the ledger, what clients were answered, and
// what the functions themselves saw. Pure: records in, violations out.
//
//   I1  every call that was answered has exactly one receipt, and it says so
//   I2  no attempt begins or ends twice, and none ends that did not begin; at rest all have ended
//   I3  every attempt that a function saw has exactly one receipt; a receipt of an answered attempt
//       has a line of the function
//   I4  every price is what the published rule gives, and the sums kept are the sums of receipts
#pragma once

#include <map>
#include <string>
#include <vector>

#include "ledger/ledger.h"
#include "metering/metering.h"

namespace dormouse::oracle {

// One line that a function wrote: "invocation-id attempt pid t0_us t1_us".
struct Seen {
  ledger::Key key;
  std::int64_t pid = 0;
  std::int64_t start_us = 0;
  std::int64_t end_us = 0;
};

// One line of a client: "invocation-id [status]"; 0 is a stream, whose head left before its end.
struct Answered {
  InvocationId id;
  int status = 200;
};

struct SumKey {
  std::string function;
  std::int32_t revision = 0;
  std::int64_t hour = 0;
  friend auto operator<=>(const SumKey&, const SumKey&) = default;
};
using Sums = std::map<SumKey, ledger::Sum>;

struct Evidence {
  std::vector<ledger::Begun> begun;
  std::vector<ledger::Receipt> receipts;
  std::vector<Seen> seen;
  std::vector<Answered> answered;
  bool has_seen = false;      // Without them, I3 is not asked,
  bool has_answered = false;  // nor is I1 without these,
  bool has_sums = false;      // nor are the sums of I4.
  bool at_rest = true;        // Nothing may be pending.
  std::string function;       // If not "", the only one that writes lines.
  Sums sums;                  // As the store keeps them.
  metering::RateCard card;
};

struct Verdict {
  std::string invariant;                // "I3"
  std::string figures;                  // "12 receipts, 12 attempts seen"
  std::vector<std::string> violations;  // At most violations_max; the rest is only counted.
  std::size_t count = 0;
};
inline constexpr std::size_t violations_max = 10;

std::vector<Verdict> judge(const Evidence&);

}  // namespace dormouse::oracle
