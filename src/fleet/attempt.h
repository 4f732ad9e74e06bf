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
};

struct OrderOptions {
  std::uint64_t handle = 0;
  Duration until_deadline{};
  std::uint64_t answer_bytes_max = 0;
};

// The memfd that a worker asked for to write a large answer to.
struct Room {
  SharedDescriptor file;
  std::uint64_t bytes = 0;
  bool is_second = false;  // Given in place of one that was too small.
};

// unavailable if there is no memory or descriptor for it.
Result<Room> make_room(std::uint64_t bytes);

// The same for a call that a function makes: it can be closed to writers.
Result<Room> make_call_room(std::uint64_t bytes);

// The body of such a call, its first `bytes`. invalid_argument if there are not so many, or
// somebody can still write there: what is called could be shown something else than it has checked.
// Blocks: the kernel waits for whoever has pages of it in hand, up to 150 ms.
Result<http::Body> closed_to_writers(const Room&, std::uint64_t bytes);

// An `answer` frame's payload, and the descriptor that goes with it.
Order answer_of_call(Result<Answer>);

// too_large if what describes the body does not fit a frame.
Result<Order> order(const Invocation&, const OrderOptions&);

// What a worker answered, held against what it was allowed. invalid_argument: it broke the
// protocol.
Result<Answer> accept(wire::Answer, const Room&, std::uint64_t answer_bytes_max);

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
