#include "cli/config.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "cli/yaml.h"

namespace dormouse::cli {
namespace {

using namespace std::chrono_literals;

std::string refusal(std::string_view yaml) {
  const auto config = parse_config(yaml);
  return config ? "" : config.error().message;
}

TEST(Config, ReadsEveryField) {
  const auto config = parse_config(R"(
data: /var/lib/dormouse
listen: "[::1]:9000"
key_file: keys
hosts: [dormouse.example, 192.168.1.5]
node: {memory: 12GiB, cpu: 3.5, name: node-1}
sandbox:
  oci_runtime: runsc
  resolvers: [9.9.9.9, 10.0.0.2]
lambda: {network: outbound}
rates: {per_call: 0.0000002, per_gib_second: "0.0000166667", bills_waking: true, currency: EUR}
runtimes:
  probe:
    root: /opt/probe
    argv: [/bin/probe, --quiet]
    env: {A: b, N: 1}
    binds: [{source: /srv/cache, target: /cache, writable: true}]
    devices: [/dev/nvidia0]
    blanks: 2
    prepares: true
    reports: true
    loopback: true
    client_context: true
limits: {connections: 5, header_bytes: 4096, idle_timeout: 1m}
)");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->data, "/var/lib/dormouse");
  EXPECT_EQ(config->host, "::1");
  EXPECT_EQ(config->port, 9000);
  EXPECT_EQ(config->hosts.size(), 2u);
  EXPECT_EQ(config->node.memory_bytes, 12LL << 30);
  EXPECT_EQ(config->node.cpu_millicores, 3500);
  EXPECT_EQ(config->oci_runtime, "runsc");
  EXPECT_EQ(config->resolvers, (std::vector<sandbox::Ipv4>{{0x09090909}, {0x0A000002}}));
  EXPECT_EQ(config->lambda_network, (catalog::Network{catalog::Network::Reach::outbound, {}}));
  EXPECT_EQ(config->rates.per_call, PicoUnits{200'000});
  EXPECT_EQ(config->rates.per_gib_second, PicoUnits{16'666'700});
  EXPECT_TRUE(config->rates.bills_waking);
  EXPECT_EQ(config->currency, "EUR");
  const fleet::Runtime& probe = config->runtimes.at("probe");
  EXPECT_EQ(probe.argv, (std::vector<std::string>{"/bin/probe", "--quiet"}));
  EXPECT_EQ(probe.env, (std::vector<std::string>{"A=b", "N=1"}));
  EXPECT_EQ(probe.blanks, 2);
  EXPECT_TRUE(config->runtimes.at("probe").binds.at(0).writable);
  EXPECT_EQ(probe.devices, std::vector<std::filesystem::path>{"/dev/nvidia0"});
  EXPECT_TRUE(probe.prepares);
  EXPECT_TRUE(probe.reports);
  EXPECT_TRUE(probe.loopback);
  EXPECT_TRUE(probe.client_context);
  EXPECT_FALSE(probe.forks);
  EXPECT_EQ(config->limits.connections_max, 5u);
  EXPECT_EQ(config->limits.idle_timeout, 1min);
}

TEST(Config, GivesWhatAwssToolsMakeNoNetworkOrTheWorld) {
  EXPECT_EQ(parse_config("lambda: {network: none}")->lambda_network, catalog::Network{});
  for (const std::string network : {"all", "{allow: [\"a:1\"]}", "true"}) {
    EXPECT_EQ(refusal("lambda: {network: " + network + "}"),
              "lambda.network: none or outbound is needed");
  }
}

TEST(Config, TakesDevicesFromDevAlone) {
  for (const char* path : {"/dev/dri/renderD128", "/etc/passwd", "nvidia0"}) {
    const std::string yaml =
        std::string("runtimes: {x: {root: /, argv: [a], devices: [") + path + "]}}";
    EXPECT_EQ(refusal(yaml),
              std::string("runtimes: x.devices: \"") + path + "\" is not directly in /dev");
  }
}

TEST(Config, OfNothingIsTheDefaults) {
  for (const char* yaml : {"", "# nothing\n", "{}", "---\n"}) {
    const auto config = parse_config(yaml);
    ASSERT_TRUE(config) << yaml;
    EXPECT_EQ(config->host, "127.0.0.1");
    EXPECT_EQ(config->port, 8080);
    EXPECT_EQ(config->rates.per_gib_second, PicoUnits{16'666'700});
  }
}

TEST(Config, RefusesTheRestAndNamesTheField) {
  const struct {
    const char* yaml;
    const char* says;
  } rows[] = {
      {"dta: /x", "unknown field \"dta\"; did you mean \"data\"?"},
      {"node: {memroy: 1GiB}", "did you mean \"memory\"?"},
      {"node: 12GiB", "node is a map"},
      {"node.memory: 1GiB", "unknown field \"node.memory\""},
      {"data: 5", "data: a text is needed"},
      {"data: \"\"", "data: a text is needed"},
      {"listen: localhost", "listen: \"localhost\" is not an address and a port"},
      {"listen: example.com:80", "is not an address and a port"},
      {"listen: 127.0.0.1:70000", "is not an address and a port"},
      {"listen: '127.0.0.1:'", "is not an address and a port"},
      {"hosts: a", "hosts: not a list"},
      {"node: {memory: lots}", "node.memory: \"lots\" is not a size"},
      {"node: {memory: 0}", "node.memory"},
      {"node: {cpu: -1}", "node.cpu"},
      {"rates: {per_call: -1}", "rates.per_call: a price is"},
      {"rates: {per_call: 1e-13}", "rates.per_call: a price is"},
      {"rates: {per_call: 1e30}", "rates.per_call: a price is"},
      {"rates: {per_call: abc}", "rates.per_call: a price is"},
      {"rates: {bills_waking: 1}", "rates.bills_waking: true or false"},
      {"runtimes: {p: {argv: [a]}}", "p.root is not an absolute path"},
      {"runtimes: {p: {root: /x}}", "p.argv is missing"},
      {"runtimes: {p: {root: x, argv: [a]}}", "p.root is not an absolute path"},
      {"runtimes: {p: {rot: /x}}", "p.rot: unknown field \"rot\"; did you mean \"root\"?"},
      {"runtimes: {p: {blanks: -1}}", "p.blanks: a whole number from 0 to 1000"},
      {"limits: {connections: 0}", "limits.connections: a whole number"},
      {"limits: {idle_timeout: 75}", "limits.idle_timeout: a duration"},
      {"limits: {idle_timeout: 1ms}", "limits.idle_timeout: at least 100ms"},
      {"- a", "a configuration is a map"},
      {"data: /a\ndata: /b", "line 2: \"data\" is there twice"},
      {"data: [", "line"},
  };
  for (const auto& row : rows) {
    EXPECT_NE(refusal(row.yaml).find(row.says), std::string::npos)
        << row.yaml << ": " << refusal(row.yaml);
  }
}

TEST(Config, ListensBeyondLoopbackOnlyWithAKey) {
  const struct {
    const char* listen;
    const char* key_file;
    bool good;
  } rows[] = {
      {"127.0.0.1:8080", "", true}, {"127.0.0.2:8080", "", true}, {"[::1]:8080", "", true},
      {"0.0.0.0:8080", "", false},  {"[::]:8080", "", false},     {"192.168.1.5:80", "", false},
      {"0.0.0.0:8080", "k", true},
  };
  for (const auto& row : rows) {
    DaemonConfig config{.data = "/x", .key_file = row.key_file};
    ASSERT_TRUE(set_listen(row.listen, config)) << row.listen;
    EXPECT_EQ(verify(config).has_value(), row.good) << row.listen;
    EXPECT_EQ(listen_text(config.host, config.port), row.listen);
  }
  EXPECT_FALSE(verify({}));  // No data directory.
}

TEST(Yaml, BecomesJson) {
  const struct {
    const char* yaml;
    const char* json;
  } rows[] = {
      {"a: 1\nb: 1.5\nc: true\nd: null\ne: text\nf: \"1\"\ng: '1'",
       R"({"a":1,"b":1.5E0,"c":true,"d":null,"e":"text","f":"1","g":"1"})"},
      {"a: [1, -2, {b: c}]", R"({"a":[1,-2,{"b":"c"}]})"},
      {"a: 512MiB\nb: 30s\nc: 1.2.3\nd: 0x10\ne: yes\nf: 1e",
       R"({"a":"512MiB","b":"30s","c":"1.2.3","d":"0x10","e":"yes","f":"1e"})"},
      {"a: 01234\nb: -0\nc: 00\nd: 12345678901234567890\ne: 0",
       R"({"a":"01234","b":"-0","c":"00","d":"12345678901234567890","e":0})"},
      {"a: |\n  x\n  y\n", R"({"a":"x\ny\n"})"},
      {"a:", R"({"a":null})"},
      {"80: a", R"({"80":"a"})"},
  };
  for (const auto& row : rows) {
    const auto value = parse_yaml(row.yaml);
    ASSERT_TRUE(value) << row.yaml << ": " << value.error().message;
    EXPECT_EQ(json::serialize(*value), row.json) << row.yaml;
  }
}

TEST(Yaml, RefusesWhatGrowsOrSurprises) {
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += '[';
  const std::string rows[] = {"a: &x 1\nb: *x",
                              "a: !!binary aGk=",
                              "a: !tag b",
                              "? [a]\n: b",
                              "{a: b, a: c}",
                              "a: b: c",
                              "--- a\n--- b",
                              "\xff",
                              "a: [",
                              "\t- a",
                              deep,
                              std::string((1 << 20) + 1, 'a')};
  for (const std::string& yaml : rows) {
    EXPECT_FALSE(parse_yaml(yaml)) << yaml.substr(0, 40);
  }
}

}  // namespace
}  // namespace dormouse::cli
