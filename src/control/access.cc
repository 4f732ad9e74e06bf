#include "control/access.h"

#include <algorithm>
#include <array>
#include <boost/asio/ip/address.hpp>

#include "base/ascii.h"

namespace dormouse::control {
namespace {

// "name:80" → "name"; "[::1]:80" → "::1". What does not look like either stays as it is.
std::string_view without_port(std::string_view host) {
  if (host.starts_with('[')) return host.substr(1, host.find(']') - 1);
  return host.substr(0, host.rfind(':'));
}

bool is_address(std::string_view name) {
  boost::system::error_code failure;
  boost::asio::ip::make_address(std::string(name), failure);
  return !failure;
}

bool is_known(std::string_view name, const Hosts& hosts) {
  constexpr std::array<std::string_view, 3> loopback{"localhost", "127.0.0.1", "::1"};
  if (std::ranges::find(loopback, name) != loopback.end()) return true;
  const auto same = [&](const std::string& known) { return lower(known) == name; };
  if (std::ranges::any_of(hosts.known, same)) return true;
  return hosts.any_address && is_address(name);
}

std::string cut(std::string_view text) {
  return std::string(text.substr(0, 100));
}

}  // namespace

Result<> check_origin(const http::Fields& fields, const Hosts& hosts) {
  const std::string host = lower(fields.find("Host").value_or(""));
  if (!is_known(without_port(host), hosts)) {
    return Error{Code::unauthorized,
                 "this node is not known as \"" + cut(host) +
                     "\"; if it should be, add the name to `hosts` in its configuration"};
  }
  // Not of this node's own pages either: functions serve what they like under its name.
  const auto from = fields.find("Sec-Fetch-Site").value_or("none");
  if (!fields.find("Origin") && from == "none") return ok;
  return Error{Code::unauthorized, "web pages may not use this API"};
}

Result<> check_content_type(const http::Head& head, Accepts accepts) {
  if (accepts == Accepts::nothing) return ok;
  const std::string_view wanted =
      accepts == Accepts::json ? "application/json" : "application/octet-stream";
  const std::string given = lower(head.fields.find("Content-Type").value_or(""));
  std::string_view type = std::string_view(given).substr(0, given.find(';'));
  while (type.ends_with(' ')) type.remove_suffix(1);
  if (type == wanted) return ok;
  return Error{Code::unsupported, "the Content-Type must be " + std::string(wanted)};
}

}  // namespace dormouse::control
