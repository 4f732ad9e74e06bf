// The roots of slots: trees of mounts inside a running sandbox, each the sandbox's own root once
// more, with a /tmp and a /dev/shm of its own.
//
//   /slots            a tmpfs of ours, in which nobody inside can write
//   /slots/template   the sandbox's root as it was when the first slot was made
//   /slots/<number>   the same again, for one fork to make its root
//
// They are mounted by entering the sandbox's mount namespace for a moment, and go with it. What is
// named there is named through no link, since everything else in it is hostile.
//
// Threads    One thread that does nothing else: it enters other mount namespaces.
// Errors     unavailable.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "sandbox/spawn.h"

namespace dormouse::sandbox {

struct SlotRoot {
  std::uint32_t number = 0;
  std::uint32_t host_uid = 0;       // Who owns its /tmp and /dev/shm.
  std::uint64_t tmp_bytes_max = 0;  // Of /tmp.

  std::string path() const { return "/slots/" + std::to_string(number); }
};

// `first` is the sandbox's first process. Once, before any slot.
Result<> begin_slot_roots(const Process& first);
Result<> make_slot_root(const Process& first, const SlotRoot&);
Result<> remove_slot_root(const Process& first, const SlotRoot&);

}  // namespace dormouse::sandbox
