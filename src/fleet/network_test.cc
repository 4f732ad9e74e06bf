#include "fleet/network.h"

#include <gtest/gtest.h>

namespace dormouse::fleet {
namespace {

using sandbox::Ipv4;

TEST(Network, ReadsDestinations) {
  const struct {
    const char* text;
    const char* means;  // Or what the error says.
  } rows[] = {
      {"api.example.com:443", "api.example.com:443"},
      {"API.Example.com:443", "api.example.com:443"},
      {"localhost.example:1", "localhost.example:1"},
      {"db:5432", "db:5432"},
      {"203.0.113.7:80", "203.0.113.7:80"},
      {"10.0.0.7:5432", "10.0.0.7:5432"},
      {"100.64.0.1:65535", "100.64.0.1:65535"},
      {"", "no port"},
      {"api.example.com", "no port"},
      {":443", "not a host"},
      {"a:", "not a number from 1"},
      {"a:0", "not a number from 1"},
      {"a:080", "not a number from 1"},
      {"a:65536", "not a number from 1"},
      {"a:80 ", "not a number from 1"},
      {"a b:80", "not a host"},
      {"a..b:80", "not a host"},
      {"-a:80", "not a host"},
      {"*.example.com:80", "not a host"},
      {"10.0.0.0/8:80", "not a host"},
      {"10.0.0:80", "not a host"},
      {"0x0a000001:80", "not a host"},
      {"2130706433:80", "not a host"},
      {"010.0.0.1:80", "not a host"},
      {"[::1]:80", "IPv6"},
      {"https://a.example:443", "a URL: write HOST:PORT"},
      {"2001:db8::1:80", "IPv6"},
      {"127.0.0.1:80", "the loopback"},
      {"0.0.0.0:80", "this host"},
      {"169.254.169.254:80", "metadata"},
      {"224.0.0.1:80", "multicast"},
      {"255.255.255.255:80", "broadcast"},
      {"198.18.0.1:80", "sandboxes"},
  };
  for (const auto& row : rows) {
    const auto to = parse_destination(row.text);
    if (to) {
      EXPECT_EQ(to->text(), row.means);
    } else {
      EXPECT_NE(to.error().message.find(row.means), std::string::npos)
          << row.text << ": " << to.error().message;
    }
  }
}

TEST(Network, OpensAPrivateAddressByItsNumberOnly) {
  const Ipv4 ours{0x0A000007}, theirs{0xCB007107};
  const auto by_name = parse_destination("db.example.com:5432");
  const auto by_number = parse_destination("10.0.0.7:5432");
  EXPECT_TRUE(check_addresses(*by_number, {ours}));
  EXPECT_TRUE(check_addresses(*by_name, {theirs}));
  EXPECT_FALSE(check_addresses(*by_name, {}));
  const auto refused = check_addresses(*by_name, {theirs, ours});
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("10.0.0.7"), std::string::npos);
}

TEST(Network, ReachesWhatIsPinnedAndNothingElse) {
  using Reach = catalog::Network::Reach;
  const wire::Options pins{{"network.a.example", "203.0.113.7 203.0.113.8"},
                           {"network.10.0.0.7", "10.0.0.7"},
                           {"network.other.example", "203.0.113.9"}};
  EXPECT_FALSE(reach_of({}, pins));
  const auto world = reach_of({.reach = Reach::outbound}, pins);
  ASSERT_TRUE(world);
  EXPECT_TRUE(world->world && world->allowed.empty() && world->names.empty());
  const auto some = reach_of(
      {.reach = Reach::allowed, .allow = {"a.example:443", "10.0.0.7:1", "unpinned.example:1"}},
      pins);
  ASSERT_TRUE(some);
  EXPECT_FALSE(some->world);
  const Ipv4 first{0xCB007107}, second{0xCB007108}, third{0x0A000007};
  EXPECT_EQ(some->allowed,
            (std::vector<sandbox::Endpoint>{{first, 443}, {second, 443}, {third, 1}}));
  EXPECT_EQ(some->names, (std::vector<std::pair<std::string, Ipv4>>{{"a.example", first},
                                                                    {"a.example", second}}));
}

}  // namespace
}  // namespace dormouse::fleet
