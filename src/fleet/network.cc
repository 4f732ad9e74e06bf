#include "fleet/network.h"

#include <algorithm>
#include <charconv>

#include "base/ascii.h"

namespace dormouse::fleet {
namespace {

Error refused(std::string why) {
  return {Code::invalid_argument, std::move(why)};
}

bool is_label(std::string_view label) {
  const auto good = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  };
  return !label.empty() && label.size() <= 63 && std::ranges::all_of(label, good) &&
         label.front() != '-' && label.back() != '-';
}

// The last label of a name is no number, or else it would be one way or another to write an
// address.
bool is_host_name(std::string_view name) {
  if (name.size() > 253) return false;
  for (;;) {
    const auto dot = name.find('.');
    const std::string_view label = name.substr(0, dot);
    if (!is_label(label)) return false;
    if (dot == name.npos) return !(label.front() >= '0' && label.front() <= '9');
    name.remove_prefix(dot + 1);
  }
}

}  // namespace

std::string Destination::text() const {
  return host + ":" + std::to_string(port);
}

Result<Destination> parse_destination(std::string_view text) {
  if (text.contains("://")) return refused("a URL: write HOST:PORT");
  if (text.contains('[') || std::ranges::count(text, ':') > 1) {
    return refused("addresses of IPv6 cannot be allowed");
  }
  const auto colon = text.find(':');
  if (colon == text.npos) return refused("no port: write HOST:PORT");
  const std::string_view digits = text.substr(colon + 1);
  Destination to{.host = lower(text.substr(0, colon))};
  const auto [end, failed] = std::from_chars(digits.begin(), digits.end(), to.port);
  if (failed != std::errc() || end != digits.end() || to.port == 0 || digits.front() == '0') {
    return refused("the port is not a number from 1 to 65535");
  }
  to.address = sandbox::parse_ipv4(to.host);
  if (!to.address && !is_host_name(to.host)) return refused("not a host's name or IPv4 address");
  if (to.address && !sandbox::may_be_allowed(*to.address)) {
    return refused(to.host + " is never reached: it is of " +
                   sandbox::private_range_of(*to.address)->meaning);
  }
  return to;
}

Result<> check_addresses(const Destination& to, const std::vector<sandbox::Ipv4>& addresses) {
  if (to.address) return ok;
  if (addresses.empty()) return refused(to.host + " has no address of IPv4");
  for (const sandbox::Ipv4 each : addresses) {
    if (const auto* range = sandbox::private_range_of(each)) {
      return refused(to.host + " is " + each.text() + ", of " + range->meaning +
                     "; if that is meant, allow it by that number");
    }
  }
  return ok;
}

std::string pin_of(const std::vector<sandbox::Ipv4>& addresses) {
  std::string pin;
  for (const sandbox::Ipv4 each : addresses) pin += (pin.empty() ? "" : " ") + each.text();
  return pin;
}

std::optional<sandbox::Reach> reach_of(const catalog::Network& network,
                                       const wire::Options& options) {
  using enum catalog::Network::Reach;
  if (network.reach == none) return std::nullopt;
  sandbox::Reach reach{.world = network.reach == outbound};
  for (const std::string& text : network.allow) {
    const auto to = parse_destination(text);
    const auto pinned = to ? options.find(std::string(pin_prefix) + to->host) : options.end();
    if (pinned == options.end()) continue;  // Never opened by mistake.
    for (std::string_view rest = pinned->second; !rest.empty();) {
      const std::string_view word = rest.substr(0, rest.find(' '));
      rest.remove_prefix(std::min(word.size() + 1, rest.size()));
      const auto address = sandbox::parse_ipv4(word);
      if (!address) continue;
      reach.allowed.push_back({*address, to->port});
      if (!to->address) reach.names.emplace_back(to->host, *address);
    }
  }
  return reach;
}

}  // namespace dormouse::fleet
