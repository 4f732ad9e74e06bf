#include "control/network.h"

#include <algorithm>
#include <boost/json.hpp>

#include "control/quantities.h"
#include "fleet/network.h"

namespace dormouse::control {
namespace {

using Reach = catalog::Network::Reach;

Error refused(std::string why) {
  return {Code::invalid_argument, std::move(why)};
}

Result<std::vector<std::string>> read_allow(const json::value& value) {
  if (!value.is_array() || value.get_array().empty()) return refused("allow: not a list of them");
  if (value.get_array().size() > fleet::destinations_max) {
    return refused("allow: more than " + std::to_string(fleet::destinations_max));
  }
  std::vector<std::string> allow;
  for (const json::value& entry : value.get_array()) {
    if (!entry.is_string()) return refused("allow: not a text");
    const std::string text(entry.get_string());
    const auto to = fleet::parse_destination(text);
    if (!to) return Error(to.error()).during("allow: \"" + text + "\"");
    if (std::ranges::find(allow, to->text()) == allow.end()) allow.push_back(to->text());
  }
  return allow;
}

}  // namespace

Result<catalog::Network> read_network(const json::value& value) {
  if (value.is_string() && value.get_string() == "none") return catalog::Network{};
  if (value.is_string() && value.get_string() == "outbound") {
    return catalog::Network{.reach = Reach::outbound};
  }
  if (!value.is_object()) return refused("none of these");
  constexpr std::string_view known[] = {"allow"};
  for (const auto& entry : value.get_object()) {
    if (entry.key() != known[0]) {
      return unknown_name("field", std::string_view(entry.key()), known);
    }
  }
  const json::value* list = value.get_object().if_contains("allow");
  if (list == nullptr) return refused("allow is missing");
  auto allow = read_allow(*list);
  if (!allow) return std::move(allow).error();
  return catalog::Network{.reach = Reach::allowed, .allow = std::move(*allow)};
}

json::value network_json(const catalog::Network& network) {
  switch (network.reach) {
    case Reach::none: return "none";
    case Reach::outbound: return "outbound";
    case Reach::allowed: break;
  }
  json::array allow;
  for (const std::string& each : network.allow) allow.emplace_back(each);
  return json::object{{"allow", std::move(allow)}};
}

}  // namespace dormouse::control
