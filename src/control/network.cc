#include "control/network.h"

#include <algorithm>
#include <boost/json.hpp>
#include <span>

#include "base/ascii.h"
#include "control/quantities.h"
#include "fleet/network.h"

namespace dormouse::control {
namespace {

using Reach = catalog::Network::Reach;

Error refused(std::string why) {
  return {Code::invalid_argument, std::move(why)};
}

// Each as it is written in the end, and once.
Result<catalog::Network> allowing(std::span<const std::string> texts) {
  if (texts.size() > fleet::destinations_max) {
    return refused("more than " + std::to_string(fleet::destinations_max));
  }
  catalog::Network network{.reach = Reach::allowed};
  for (const std::string& text : texts) {
    const auto to = fleet::parse_destination(text);
    if (!to) return Error(to.error()).during("\"" + text.substr(0, 200) + "\"");
    auto& allow = network.allow;
    if (std::ranges::find(allow, to->text()) == allow.end()) allow.push_back(to->text());
  }
  return network;
}

Result<catalog::Network> read_allow(const json::value& value) {
  if (!value.is_array() || value.get_array().empty()) return refused("not a list of them");
  std::vector<std::string> texts;
  for (const json::value& entry : value.get_array()) {
    if (!entry.is_string()) return refused("not a text");
    texts.emplace_back(entry.get_string());
  }
  return allowing(texts);
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
  auto network = read_allow(*list);
  if (!network) return std::move(network).error().during("allow");
  return network;
}

Result<catalog::Network> read_network_words(std::string_view text) {
  std::vector<std::string> words;
  for (const std::string_view word : split(text, ' ')) {
    if (!word.empty()) words.emplace_back(word);
  }
  if (words.empty()) return refused("it says nothing");
  const bool is_one = words.size() == 1 && (words[0] == "none" || words[0] == "outbound");
  return is_one ? read_network(json::value(words[0])) : allowing(words);
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
