#include "gateway/origin.h"

#include <gtest/gtest.h>

namespace dormouse::gateway {
namespace {

TEST(Origin, MustBeTheHostAndTheHostMustBeKnown) {
  const Hosts configured{{"dormouse.example", "192.168.1.5"}, false};
  const Hosts everywhere{{}, true};
  const struct {
    const char* why;
    const Hosts& hosts;
    const char* host;    // nullptr: none.
    const char* origin;  // nullptr: none.
    bool good;
  } rows[] = {
      {"loopback name", configured, "localhost:8080", nullptr, true},
      {"loopback name through a forwarded port", configured, "localhost:9999", nullptr, true},
      {"no port", configured, "127.0.0.1", nullptr, true},
      {"IPv6 loopback", configured, "[::1]:8080", nullptr, true},
      {"configured name", configured, "Dormouse.Example", nullptr, true},
      {"configured address", configured, "192.168.1.5:8080", nullptr, true},
      {"no host", configured, nullptr, nullptr, false},
      {"empty host", configured, "", nullptr, false},
      {"rebound name", configured, "evil.example:8080", nullptr, false},
      {"a name that begins alike", configured, "localhost.evil.example", nullptr, false},
      {"a name that ends alike", configured, "evil-dormouse.example", nullptr, false},
      {"user part", configured, "localhost@evil.example", nullptr, false},
      {"other address", configured, "192.168.1.6", nullptr, false},
      {"open bracket", configured, "[::1", nullptr, true},
      {"any address, listening on all", everywhere, "192.168.1.6:8080", nullptr, true},
      {"any IPv6 address, listening on all", everywhere, "[fd00::1]:8080", nullptr, true},
      {"but no name", everywhere, "evil.example", nullptr, false},
      {"a page of a function's", configured, "localhost:8080", "http://localhost:8080", false},
      {"the same behind TLS", configured, "dormouse.example", "https://dormouse.example", false},
      {"other port", configured, "localhost:8080", "http://localhost:3000", false},
      {"other site", configured, "localhost:8080", "https://evil.example", false},
      {"null origin", configured, "localhost:8080", "null", false},
      {"empty origin", configured, "localhost:8080", "", false},
      {"origin with a tail", configured, "localhost:80", "http://localhost:8080", false},
  };
  for (const auto& row : rows) {
    http::Fields fields;
    if (row.host != nullptr) fields.add("Host", row.host);
    if (row.origin != nullptr) fields.add("Origin", row.origin);
    EXPECT_EQ(check_origin(fields, row.hosts).has_value(), row.good) << row.why;
  }
}

TEST(Origin, IsAlsoKnownByWhatBrowsersSayOfAFetch) {
  for (const auto& [said, good] : {std::pair("none", true), std::pair("same-origin", false),
                                   std::pair("same-site", false), std::pair("cross-site", false)}) {
    http::Fields fields;
    fields.add("Host", "localhost:8080");
    fields.add("Sec-Fetch-Site", said);
    EXPECT_EQ(check_origin(fields, {}).has_value(), good) << said;
  }
}

TEST(Origin, OfAPageThatCallsMustBeThisMachineOrKnown) {
  const Hosts configured{{"dormouse.example"}, false};
  for (const auto& [origin, good] :
       {std::pair("http://localhost:3000", true), std::pair("http://127.0.0.1:8080", true),
        std::pair("http://[::1]:8080", true), std::pair("http://app.localhost:8080", true),
        std::pair("https://dormouse.example", true), std::pair("https://evil.example", false),
        std::pair("http://localhost.evil.example", false), std::pair("null", false),
        std::pair("", false), std::pair("localhost", false)}) {
    http::Fields fields;
    fields.add("Host", "localhost:8080");
    fields.add("Origin", origin);
    EXPECT_EQ(check_caller(fields, configured).has_value(), good) << origin;
  }
  EXPECT_TRUE(check_caller({}, configured)) << "a program, not a page";
}

}  // namespace
}  // namespace dormouse::gateway
