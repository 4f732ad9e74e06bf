#include "sandbox/network_rules.h"

#include <gtest/gtest.h>

#include "sandbox/router.h"

namespace dormouse::sandbox {
namespace {

TEST(Addresses, HaveOneWayOfWriting) {
  const struct {
    const char* text;
    std::uint32_t number;
  } good[] = {{"0.0.0.0", 0}, {"127.0.0.1", 0x7F000001}, {"255.255.255.255", 0xFFFFFFFF}};
  for (const auto& row : good) {
    ASSERT_TRUE(parse_ipv4(row.text)) << row.text;
    EXPECT_EQ(parse_ipv4(row.text)->number, row.number);
    EXPECT_EQ(Ipv4{row.number}.text(), row.text);
  }
  for (const char* bad : {"", "1", "1.2.3", "1.2.3.4.5", "1.2.3.", ".1.2.3", "1..2.3", "1.2.3.256",
                          "01.2.3.4", "1.2.3.04", "1.2.3.4 ", " 1.2.3.4", "1.2.3.-4", "+1.2.3.4",
                          "0x1.2.3.4", "1.2.3.4/8", "::1"}) {
    EXPECT_FALSE(parse_ipv4(bad)) << bad;
  }
}

TEST(Addresses, OfTheWorldAreThoseOfNoPrivateRange) {
  const struct {
    const char* address;
    bool is_private, may_be_allowed;
  } rows[] = {
      {"0.0.0.0", true, false},         {"9.255.255.255", false, true},
      {"10.0.0.0", true, true},         {"10.255.255.255", true, true},
      {"11.0.0.0", false, true},        {"100.63.255.255", false, true},
      {"100.64.0.0", true, true},       {"100.127.255.255", true, true},
      {"100.128.0.0", false, true},     {"126.255.255.255", false, true},
      {"127.0.0.1", true, false},       {"127.255.255.255", true, false},
      {"169.253.255.255", false, true}, {"169.254.169.254", true, false},
      {"172.15.255.255", false, true},  {"172.16.0.0", true, true},
      {"172.31.255.255", true, true},   {"172.32.0.0", false, true},
      {"192.0.0.1", true, false},       {"192.0.2.1", false, true},
      {"192.168.0.1", true, true},      {"192.169.0.0", false, true},
      {"198.17.255.255", false, true},  {"198.18.0.1", true, false},
      {"198.19.255.255", true, false},  {"198.20.0.0", false, true},
      {"203.0.113.7", false, true},     {"223.255.255.255", false, true},
      {"224.0.0.1", true, false},       {"255.255.255.255", true, false},
  };
  for (const auto& row : rows) {
    const Ipv4 address = *parse_ipv4(row.address);
    EXPECT_EQ(private_range_of(address) != nullptr, row.is_private) << row.address;
    EXPECT_EQ(may_be_allowed(address), row.may_be_allowed) << row.address;
  }
}

TEST(Addresses, OfNameserversAreReadFromResolvConf) {
  const auto found = nameservers_in(
      "# nameserver 1.1.1.1\nsearch example.com\nnameserver 9.9.9.9\nnameserver\t10.0.0.2 # ours\n"
      "nameserver ::1\nnameserver\nnameserver9.9.9.8\nnameserver 8.8.8.8");
  EXPECT_EQ(found, (std::vector<Ipv4>{{0x09090909}, {0x0A000002}, {0x08080808}}));
}

TEST(Rules, OfAPolicyOpenWhatItAllowsAndEndThere) {
  Reach some;
  some.allowed = {{{0xCB007107}, 443}, {{0x0A000007}, 5432}};
  some.resolvers = {{0x09090909}};  // Not without the world.
  EXPECT_EQ(policy_rules(7, some),
            "add chain inet router policy_7\n"
            "add rule inet router policy_7 meta l4proto { tcp, udp } ip daddr . th dport { "
            "203.0.113.7 . 443, 10.0.0.7 . 5432 } accept\n"
            "add element inet router policies { 7 : jump policy_7 }\n");
  Reach world{.world = true};
  world.resolvers = {{0x09090909}};
  EXPECT_EQ(policy_rules(8, world),
            "add chain inet router policy_8\n"
            "add rule inet router policy_8 meta l4proto { tcp, udp } ip daddr { 9.9.9.9 } th dport "
            "53 accept\n"
            "add rule inet router policy_8 goto world\n"
            "add element inet router policies { 8 : jump policy_8 }\n");
}

TEST(Rules, OfTheWorldDenyEveryPrivateRange) {
  const std::string rules = router_rules();
  for (const Range& range : private_ranges()) {
    EXPECT_NE(rules.find(" " + range.text()), std::string::npos) << range.text();
  }
}

// Flows that are known may be of whoever had the sandbox's address before.
TEST(Rules, HoldAlsoForFlowsThatAreKnown) {
  const std::string rules = router_rules();
  const auto known = rules.find("established");
  EXPECT_TRUE(rules.substr(0, known).ends_with("iifname \"up\" ct state { "));
  EXPECT_EQ(rules.find("established", known + 1), std::string::npos);
}

// As in /proc/net/route: the default, 203.0.113.0/24, and one that holds the second link of ours.
TEST(Links, AreWhereTheHostHasNoRouteTo) {
  const std::string head =
      "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
  const std::string usual = head +
                            "eth0\t00000000\t017100CB\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
                            "eth0\t007100CB\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
  EXPECT_EQ(free_link(usual, 0)->outer.text(), "198.18.0.1");
  EXPECT_EQ(free_link(usual, 0)->inner.text(), "198.18.0.2");
  EXPECT_EQ(free_link(usual, 16'385)->outer.text(), "198.18.0.5");
  const std::string other = usual + "dm1\t040012C6\t00000000\t0001\t0\t0\t0\tFCFFFFFF\t0\t0\t0\n";
  EXPECT_EQ(free_link(other, 1)->outer.text(), "198.18.0.9");
  const std::string whole = head + "x\t000012C6\t00000000\t0001\t0\t0\t0\t0000FEFF\t0\t0\t0\n";
  EXPECT_FALSE(free_link(whole, 5));
  EXPECT_EQ(link_of_sandbox(0).inner.text(), "198.19.0.2");
  EXPECT_EQ(link_of_sandbox(linked_sandboxes_max - 1).inner.text(), "198.19.255.254");
}

TEST(NetworkFiles, SayWhatIsKnownAndWhomToAsk) {
  Reach reach{.world = true};
  reach.names = {{"a.example", {0xCB007107}}};
  reach.resolvers = {{0x09090909}, {0x08080808}};
  EXPECT_EQ(hosts_text(reach), "127.0.0.1 localhost\n203.0.113.7 a.example\n");
  EXPECT_EQ(resolv_text(reach), "nameserver 9.9.9.9\nnameserver 8.8.8.8\n");
  reach.world = false;
  EXPECT_EQ(resolv_text(reach), "");
}

}  // namespace
}  // namespace dormouse::sandbox
