// What a revision may reach of the network: from its manifest to what its sandbox is given. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/catalog.h"
#include "sandbox/sandbox.h"
#include "wire/messages.h"

namespace dormouse::fleet {

inline constexpr std::size_t destinations_max = 64;  // Of one function.

struct Destination {
  std::string host;                      // A name in lower case, or a number as text.
  std::optional<sandbox::Ipv4> address;  // If it is a number.
  std::uint16_t port = 0;
  std::string text() const;  // "db.example.com:5432"
};

// "HOST:PORT". invalid_argument says what it should be; also of an address that no list can allow.
Result<Destination> parse_destination(std::string_view);

// Whether these addresses, by which the host knows the destination, may be reached because it was
// allowed. One that was allowed by name must be the world's: whoever answers for the name would
// otherwise choose which private host it opens.
Result<> check_addresses(const Destination&, const std::vector<sandbox::Ipv4>&);

// The addresses are pinned in the revision's load options: "network.HOST" → "203.0.113.7 …".
inline constexpr std::string_view pin_prefix = "network.";
std::string pin_of(const std::vector<sandbox::Ipv4>&);

// nullopt: nothing.
std::optional<sandbox::Reach> reach_of(const catalog::Network&, const wire::Options&);

}  // namespace dormouse::fleet
