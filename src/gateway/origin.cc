#include "gateway/origin.h"

#include <algorithm>
#include <array>
#include <boost/asio/ip/address.hpp>

#include "base/ascii.h"

namespace dormouse::gateway {
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

// A page's origin is what browsers say of every request that is not a plain GET.
Result<> check_caller(const http::Fields& fields, const Hosts& hosts) {
  const auto origin = fields.find("Origin");
  if (!origin) return ok;
  const std::string whole = lower(*origin);
  const auto scheme = whole.find("://");
  const std::string_view host = std::string_view(whole).substr(
      scheme == whole.npos ? whole.size() : scheme + std::string_view("://").size());
  const std::string_view name = without_port(host);
  // Of a function that is reached by its host name.
  if (is_known(name, hosts) || name.ends_with(".localhost")) return ok;
  return Error{Code::unauthorized,
               "without a key, a web page of \"" + cut(*origin) +
                   "\" may not call functions; give keys (`dormouse key new --help`), or add its "
                   "host to `hosts` in the configuration"};
}

}  // namespace dormouse::gateway
