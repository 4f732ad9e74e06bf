// IPv4 addresses, and which of them no function may reach by being let out to the world. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dormouse::sandbox {

struct Ipv4 {
  std::uint32_t number = 0;  // 0x7F000001 is 127.0.0.1.
  std::string text() const;
  friend auto operator<=>(const Ipv4&, const Ipv4&) = default;
};

// Four decimal numbers without needless zeros, and nothing else: no other way of writing one.
std::optional<Ipv4> parse_ipv4(std::string_view);

struct Range {
  Ipv4 first;
  int prefix;  // Bits.
  const char* meaning;
  bool contains(Ipv4) const;
  std::string text() const;  // "10.0.0.0/8"
};

// What is not the world: this host, its networks, those of its operator. The ranges that are set
// aside for documentation are the world's: nobody has them, and tests can.
std::span<const Range> private_ranges();
const Range* private_range_of(Ipv4);  // nullptr: it is public.

// Those that may be reached if an allow-list has them, by number: a network's own hosts. No
// allow-list opens the others, whose meaning is the host's, or everybody's.
bool may_be_allowed(Ipv4);

// The nameservers that a resolv.conf names, of IPv4, in its order.
std::vector<Ipv4> nameservers_in(std::string_view resolv_conf);

}  // namespace dormouse::sandbox
