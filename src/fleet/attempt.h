// One try at an invocation: from what the fleet noted to what the worker is sent, from what it
// answered to what the client gets, and to the receipt. Pure but for the memfds it makes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fleet/fleet.h"
#include "fleet/worker.h"

namespace dormouse::fleet {

// What an attempt's life left behind, in the daemon's own time.
struct Timing {
  TimePoint accepted{};
  TimePoint dispatched{};
  TimePoint ended{};
  ledger::Rung rung = ledger::Rung::awake;
  ledger::Phases wake;  // Of the instance, if this call waited for it to wake.
};

// An `invoke` frame's payload, and the descriptors that go with it.
struct Order {
  std::string payload;
  std::vector<SharedDescriptor> descriptors;
  SharedDescriptor result;  // The memfd that a large answer is written to.
};

// False if the revision's outputs have fixed shapes that fit a frame: then no memfd is needed.
bool may_answer_large(const catalog::Revision&);

struct OrderOptions {
  std::uint64_t handle = 0;
  Duration until_deadline{};
  std::uint64_t answer_bytes_max = 0;
  bool with_memfd = true;  // For the answer.
  SharedDescriptor room;   // Serves for that, if given.
};

// too_large if what describes the body does not fit a frame.
Result<Order> order(const Invocation&, const OrderOptions&);

// What a worker answered, held against what it was allowed. invalid_argument: it broke the
// protocol.
Result<Answer> accept(wire::Answer, SharedDescriptor result, std::uint64_t answer_bytes_max);

struct Measured {
  Duration cpu{};
  std::uint64_t memory_bytes_peak = 0;
  bool shared = false;
};

ledger::Begun begun(const Invocation&, const std::string& node, WallTime now);

// `failure`: how it ended, nullopt if it was answered.
ledger::Receipt receipt(ledger::Begun, const Invocation&, const Timing&, const Measured&,
                        std::optional<Code> failure, std::uint64_t response_bytes,
                        const metering::RateCard&);

}  // namespace dormouse::fleet
