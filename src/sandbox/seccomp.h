// The system calls that a sandboxed program may make. Everything else fails with EPERM, clone3 and
// what the kernel got later with ENOSYS, calls of another architecture kill the process.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace dormouse::sandbox {

// What one argument must be for the call to be allowed.
struct ArgumentRule {
  enum class Test : std::uint8_t { none, equal, masked };
  Test test = Test::none;
  std::uint32_t index = 0;
  std::uint64_t value = 0;
  std::uint64_t mask = 0;  // masked: only these bits are looked at.
};

struct AllowedCall {
  const char* name;
  const char* reason;
  ArgumentRule rule = {};
  std::array<ArgumentRule, 2> further = {};  // Of other arguments: all must hold.
};

// Further ones where the program forks instances of itself into slots. Both need a capability that
// no instance has.
std::span<const AllowedCall> calls_of_templates();

// Further ones where programs of one sandbox may speak IP with each other, and may be given a
// network. Until then their network namespace is as empty as any other's.
std::span<const AllowedCall> calls_of_loopback();

// Further ones where programs were given devices: those of NVIDIA's driver.
std::span<const AllowedCall> calls_of_devices();

// Reviewed line by line; docs/isolation.md holds the same tables, and a test compares them.
std::span<const AllowedCall> allowed_calls();

}  // namespace dormouse::sandbox
