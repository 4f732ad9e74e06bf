// The daemon's configuration file: YAML → DaemonConfig. Pure. One table of fields gives each its
// name, form, default and meaning; the errors and docs/reference/config.md come from it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/resources.h"
#include "base/result.h"
#include "catalog/catalog.h"
#include "conversations/conversations.h"
#include "fleet/fleet.h"
#include "http/server.h"
#include "metering/metering.h"

namespace dormouse::cli {

struct DaemonConfig {
  std::string data;  // The data directory.
  std::string host = "127.0.0.1";
  std::uint16_t port = 8080;
  std::string key_file;            // "": no keys.
  std::string master_key;          // The file of the key to the secrets; "": in `data`.
  std::vector<std::string> hosts;  // Further names that the node is known by.
  Resources node{};                // What all instances may hold; 0: found out.
  std::string node_name;           // "": the host's.
  std::string oci_runtime = "runc";
  std::vector<sandbox::Ipv4> resolvers;  // Whom functions ask for names; empty: the host's.
  catalog::Network lambda_network;       // Of what AWS's tools make, unless its tags say another.
  metering::RateCard rates;
  std::string currency = "USD";
  std::uint64_t output_bytes_per_second = fleet::Options().output_bytes_per_second;
  conversations::Options conversations;            // Without a folder: one in `data`.
  std::map<std::string, fleet::Runtime> runtimes;  // Over those that come with the program.
  http::Limits limits;
};

inline constexpr std::uint64_t config_bytes_max = 1 << 20;

// invalid_argument names the field, what was given and what is allowed.
Result<DaemonConfig> parse_config(std::string_view yaml);

// "127.0.0.1:8080", "[::1]:8080": an address, not a name.
Result<> set_listen(std::string_view text, DaemonConfig&);
// The other way round, with the brackets that an address of IPv6 has beside a port.
std::string listen_text(const std::string& host, std::uint16_t port);

// What only the whole can tell: a data directory, and a key file if it listens beyond loopback.
Result<> verify(const DaemonConfig&);

std::string config_page();  // All of docs/reference/config.md.

}  // namespace dormouse::cli
