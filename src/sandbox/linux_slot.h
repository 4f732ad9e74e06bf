// A slot of a running sandbox: made on the workshop's thread, then watched as a sandbox is.
#pragma once

#include <memory>

#include "sandbox/slot_roots.h"
#include "sandbox/watch.h"

namespace dormouse::sandbox {

inline constexpr std::uint32_t slot_uid_first = 2000;  // Inside.
inline constexpr std::uint32_t slot_uids = 60'000;

struct SlotSpec {
  std::uint32_t number = 0;          // From 1; never used twice in a sandbox.
  std::uint32_t host_uid_first = 0;  // The sandbox's.
  Limits limits;                     // The slot's.
  Limits program_limits;             // The program's, once there are slots.

  std::uint32_t uid() const { return slot_uid_first + number % slot_uids; }
  SlotRoot root() const { return {number, host_uid_first + uid(), limits.tmp_bytes_max}; }
};

struct MadeSlot {
  std::unique_ptr<Cgroup> group;
  Ends ends;
};

// Blocks: for the thread `slotting`.
Result<MadeSlot> make_slot_of(Watch& sandbox, const SlotSpec&);

std::unique_ptr<Slot> linux_slot(std::shared_ptr<Watch> sandbox, const SlotSpec&, MadeSlot);

}  // namespace dormouse::sandbox
