#include "sandbox/network_rules.h"

#include <algorithm>
#include <charconv>
#include <vector>

namespace dormouse::sandbox {
namespace {

constexpr std::uint32_t links_of_hosts = 0xC6120000;      // 198.18.0.0/16
constexpr std::uint32_t links_of_sandboxes = 0xC6130000;  // 198.19.0.0/16
constexpr std::uint32_t links_each = 16'384;

Link link_at(std::uint32_t base, std::uint32_t number) {
  return {.outer = {base + number * 4 + 1}, .inner = {base + number * 4 + 2}};
}

std::string listed(const auto& items, auto text) {
  std::string list;
  for (const auto& item : items) list += (list.empty() ? "" : ", ") + text(item);
  return list;
}

std::string chain_of(std::uint32_t group) {
  return "policy_" + std::to_string(group);
}

struct Route {
  std::uint32_t destination, mask;
};

std::optional<std::uint32_t> hex_at(std::string_view line, int column) {
  for (; column > 0; --column) {
    const auto tab = line.find('\t');
    if (tab == line.npos) return {};
    line.remove_prefix(tab + 1);
  }
  std::uint32_t value = 0;
  const auto [end, failed] = std::from_chars(line.begin(), line.end(), value, 16);
  if (failed != std::errc() || end == line.begin()) return {};
  return __builtin_bswap32(value);  // The kernel writes them as they lie in memory.
}

// Without the default route, which is to everywhere.
std::vector<Route> routes_in(std::string_view text) {
  constexpr int destination_column = 1, mask_column = 7;
  std::vector<Route> routes;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const auto destination = hex_at(line, destination_column);
    const auto mask = hex_at(line, mask_column);
    if (destination && mask && *mask != 0) routes.push_back({*destination, *mask});
  }
  return routes;
}

}  // namespace

std::string router_rules() {
  const std::string world = listed(private_ranges(), [](const Range& r) { return r.text(); });
  return "table inet router {\n"
         "  set private { type ipv4_addr; flags interval; elements = { " +
         world +
         " }\n  }\n"
         "  map policies { type devgroup : verdict\n  }\n"
         "  chain world {\n"
         "    ip daddr @private reject with icmpx admin-prohibited\n"
         "    meta l4proto { tcp, udp } accept\n"
         "  }\n"
         // Nobody speaks with the router itself, and nobody begins to speak with a sandbox. What
         // sandboxes send meets their policy also if it is of a flow that is known: that may be
         // another's, who had the address before.
         "  chain input { type filter hook input priority filter; policy drop;\n  }\n"
         "  chain forward { type filter hook forward priority filter; policy drop;\n"
         "    meta nfproto != ipv4 drop\n"
         "    iifname \"up\" ct state { established, related } accept\n"
         "    iifname \"up\" drop\n"
         "    ct state invalid drop\n"
         "    fib saddr . iif oif missing drop\n"
         "    oifname != \"up\" reject with icmpx admin-prohibited\n"
         "    iifgroup vmap @policies\n"
         "    reject with icmpx admin-prohibited\n"
         "  }\n"
         "  chain postrouting { type nat hook postrouting priority srcnat; policy accept;\n"
         "    oifname \"up\" masquerade\n"
         "  }\n"
         "}\n";
}

std::string policy_rules(std::uint32_t group, const Reach& reach) {
  const std::string chain = chain_of(group);
  std::string text = "add chain inet router " + chain + "\n";
  const std::string rule = "add rule inet router " + chain + " ";
  const std::string tcp_or_udp = "meta l4proto { tcp, udp } ";
  if (reach.world && !reach.resolvers.empty()) {
    const auto address = [](Ipv4 each) { return each.text(); };
    text += rule + tcp_or_udp + "ip daddr { " + listed(reach.resolvers, address) +
            " } th dport 53 accept\n";
  }
  if (!reach.allowed.empty()) {
    const auto endpoint = [](const Endpoint& each) {
      return each.address.text() + " . " + std::to_string(each.port);
    };
    text += rule + tcp_or_udp + "ip daddr . th dport { " + listed(reach.allowed, endpoint) +
            " } accept\n";
  }
  if (reach.world) text += rule + "goto world\n";
  return text + "add element inet router policies { " + std::to_string(group) + " : jump " + chain +
         " }\n";
}

std::string without_policy_rules(std::uint32_t group) {
  return "delete element inet router policies { " + std::to_string(group) + " }\n" +
         "flush chain inet router " + chain_of(group) + "\n" + "delete chain inet router " +
         chain_of(group) + "\n";
}

std::string host_rules(const std::string& table, const std::string& interface, Ipv4 router) {
  const std::string from = "iifname \"" + interface + "\" ";
  const std::string to = "oifname \"" + interface + "\" ";
  return "table inet " + table +
         " {\n"
         // Before anything of the host's rewrites an address: a published port of a container is
         // the host's own address, too.
         "  chain prerouting { type filter hook prerouting priority raw; policy accept;\n    " +
         from + "meta nfproto != ipv4 drop\n    " + from + "ip saddr != " + router.text() +
         " drop\n    " + from +
         "fib daddr type local meta l4proto tcp reject with tcp reset\n    " + from +
         "fib daddr type local reject with icmpx admin-prohibited\n    " + from +
         "fib daddr type { broadcast, anycast, multicast } drop\n  }\n"
         "  chain input { type filter hook input priority filter - 10; policy accept;\n    " +
         from +
         "drop\n  }\n"
         "  chain forward { type filter hook forward priority filter - 10; policy accept;\n    " +
         from + to + "drop\n    " + to +
         "ct state != { established, related } drop\n  }\n"
         "  chain output { type filter hook output priority filter - 10; policy accept;\n    " +
         to +
         "ct state new drop\n  }\n"
         "  chain postrouting { type nat hook postrouting priority srcnat; policy accept;\n"
         "    ip saddr " +
         router.text() + " oifname != \"" + interface +
         "\" masquerade\n"
         "  }\n"
         "}\n";
}

std::string without_table_rules(const std::string& table) {
  return "add table inet " + table + "\ndelete table inet " + table + "\n";
}

std::optional<Link> free_link(std::string_view routes, std::uint32_t wish) {
  const std::vector<Route> taken = routes_in(routes);
  for (std::uint32_t turn = 0; turn < links_each; ++turn) {
    const Link link = link_at(links_of_hosts, (wish + turn) % links_each);
    constexpr std::uint32_t own_mask = ~std::uint32_t{3};
    const auto overlaps = [&](const Route& route) {
      return ((route.destination ^ link.outer.number) & route.mask & own_mask) == 0;
    };
    if (std::ranges::none_of(taken, overlaps)) return link;
  }
  return std::nullopt;
}

Link link_of_sandbox(std::size_t place) {
  return link_at(links_of_sandboxes, static_cast<std::uint32_t>(place));
}

}  // namespace dormouse::sandbox
