// The packet filter's rules for sandboxes that may reach a network: text for `nft -f`. Pure.
//
// Two tables. The router's lies in a network namespace of our own, through which every sandbox's
// packets go: it has the policies. The host's says what the router may do to the host: nothing but
// pass through, to elsewhere.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "sandbox/addresses.h"
#include "sandbox/sandbox.h"

namespace dormouse::sandbox {

inline constexpr const char* router_uplink = "up";  // The router's interface to the host.

// IPv4 only; what has another form is dropped.
std::string router_rules();

// A chain for the policy, that holds for the interfaces of this group.
std::string policy_rules(std::uint32_t group, const Reach&);
std::string without_policy_rules(std::uint32_t group);

// `interface`: the host's to the router, whose address there is `router`.
std::string host_rules(const std::string& table, const std::string& interface, Ipv4 router);
std::string without_table_rules(const std::string& table);  // Also if there is none.

// Which pair of addresses links the host to the router: the first one of ours, from `wish` on,
// where the host has no route to. `routes` is /proc/net/route. nullopt: all are taken.
struct Link {
  Ipv4 outer, inner;  // Nearer to the host; nearer to the sandbox. Of a network of 30 bits.
};
std::optional<Link> free_link(std::string_view routes, std::uint32_t wish);

// The same between the router and a sandbox, of so many places.
Link link_of_sandbox(std::size_t place);
inline constexpr std::size_t linked_sandboxes_max = 16'384;

}  // namespace dormouse::sandbox
