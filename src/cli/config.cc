#include "cli/config.h"

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <boost/json.hpp>
#include <charconv>
#include <cmath>
#include <iterator>
#include <limits>

#include "cli/yaml.h"
#include "control/network.h"
#include "control/quantities.h"

namespace dormouse::cli {
namespace {

using Read = Result<> (*)(const json::value&, DaemonConfig&);

struct Entry {
  std::string_view name;  // "node.memory": a field of a section.
  std::string_view form;
  std::string_view otherwise;  // What it is if left out.
  std::string_view meaning;
  Read read;
};

Error refused(std::string why) {
  return {Code::invalid_argument, std::move(why)};
}

Result<> read_text(const json::value& value, std::string& out) {
  if (!value.is_string() || value.get_string().empty()) return refused("a text is needed");
  if (value.get_string().find('\0') != json::string::npos) return refused("a NUL in a text");
  out = std::string(value.get_string());
  return ok;
}

Result<> read_texts(const json::value& value, std::vector<std::string>& out) {
  constexpr std::size_t texts_max = 1000;
  if (!value.is_array() || value.get_array().size() > texts_max) return refused("not a list");
  std::vector<std::string> texts;
  for (const json::value& entry : value.get_array()) {
    if (auto done = read_text(entry, texts.emplace_back()); !done) return done;
  }
  out = std::move(texts);
  return ok;
}

template <class Number>
Result<> read_number(const json::value& value, Number least, Number most, Number& out) {
  const bool fits = value.is_int64() && value.get_int64() >= static_cast<std::int64_t>(least) &&
                    value.get_int64() <= static_cast<std::int64_t>(most);
  if (!fits) {
    return refused("a whole number from " + std::to_string(least) + " to " + std::to_string(most) +
                   " is needed");
  }
  out = static_cast<Number>(value.get_int64());
  return ok;
}

Result<> read_size(const json::value& value, std::int64_t& out) {
  if (value.is_int64() && value.get_int64() > 0) {
    out = value.get_int64();
    return ok;
  }
  if (!value.is_string()) return refused("a size as \"8GiB\" is needed");
  const auto bytes = control::parse_size(std::string_view(value.get_string()));
  if (!bytes) return bytes.error();
  if (*bytes == 0) return refused("it cannot be 0");
  out = *bytes;
  return ok;
}

Result<> read_size(const json::value& value, std::uint64_t& out) {
  std::int64_t bytes = 0;
  auto done = read_size(value, bytes);
  if (done) out = static_cast<std::uint64_t>(bytes);
  return done;
}

Result<> read_duration(const json::value& value, Duration& out) {
  if (!value.is_string()) return refused("a duration as \"30s\" is needed");
  const auto duration = control::parse_duration(std::string_view(value.get_string()));
  if (!duration) return duration.error();
  if (*duration < std::chrono::milliseconds(100)) return refused("at least 100ms are needed");
  out = *duration;
  return ok;
}

Result<> read_flag(const json::value& value, bool& out) {
  if (!value.is_bool()) return refused("true or false is needed");
  out = value.get_bool();
  return ok;
}

Result<> read_millicores(const json::value& value, std::int64_t& out) {
  std::string text;
  if (value.is_string()) text = std::string(value.get_string());
  if (value.is_int64()) text = std::to_string(value.get_int64());
  if (value.is_double() && value.get_double() > 0 && value.get_double() < 1e6) {
    text = std::to_string(std::llround(value.get_double() * 1000)) + "m";
  }
  const auto millicores = control::parse_millicores(text);
  if (!millicores) return millicores.error();
  if (*millicores == 0) return refused("it cannot be 0");
  out = *millicores;
  return ok;
}

// A decimal as it was typed, "0.0000166667" or "1.5e-05", in pico-units. Exact, or an Error.
Result<PicoUnits> parse_price(std::string_view text) {
  const Error bad = refused("a price is a number with at most 12 decimals, not negative");
  std::int64_t digits = 0;
  int decimals = 0, exponent = 0;
  const std::string_view number = text.substr(0, text.find_first_of("eE"));
  bool point = false;
  for (const char c : number) {
    if (c == '.' && !point) {
      point = true;
      continue;
    }
    if (c < '0' || c > '9') return bad;
    if (__builtin_mul_overflow(digits, 10, &digits)) return bad;
    if (__builtin_add_overflow(digits, c - '0', &digits)) return bad;
    decimals += point ? 1 : 0;
  }
  if (number.empty() || number == ".") return bad;
  if (number.size() < text.size()) {
    std::string_view power = text.substr(number.size() + 1);
    if (power.starts_with('+')) power.remove_prefix(1);
    const auto read = std::from_chars(power.data(), power.data() + power.size(), exponent);
    if (read.ec != std::errc() || read.ptr != power.data() + power.size()) return bad;
    if (exponent < -30 || exponent > 30) return bad;
  }
  int shift = 12 - decimals + exponent;
  for (; shift > 0; --shift) {
    if (__builtin_mul_overflow(digits, 10, &digits)) return bad;
  }
  for (; shift < 0 && digits % 10 == 0; ++shift) digits /= 10;
  if (shift < 0 && digits != 0) return bad;
  return PicoUnits{digits};
}

Result<> read_price(const json::value& value, PicoUnits& out) {
  char shortest[64];
  std::string text;
  if (value.is_string()) text = std::string(value.get_string());
  if (value.is_int64()) text = std::to_string(value.get_int64());
  if (value.is_double()) {
    // The shortest text that reads as this number is what was typed, up to 15 digits.
    const auto end = std::to_chars(shortest, std::end(shortest), value.get_double()).ptr;
    text.assign(shortest, end);
  }
  const auto price = parse_price(text);
  if (!price) return price.error();
  out = *price;
  return ok;
}

Result<> read_env(const json::value& value, std::vector<std::string>& out) {
  if (!value.is_object()) return refused("env is not a map");
  for (const auto& [name, entry] : value.get_object()) {
    std::string text;
    if (entry.is_string()) text = std::string(entry.get_string());
    if (entry.is_int64() || entry.is_bool()) text = json::serialize(entry);
    const bool good = (entry.is_string() || entry.is_int64() || entry.is_bool()) &&
                      !text.contains('\0') && !std::string_view(name).contains('=');
    if (!good) return refused("env." + std::string(name) + " is not a text");
    out.push_back(std::string(name) + "=" + text);
  }
  return ok;
}

Result<> read_bind(const json::value& value, std::vector<sandbox::Bind>& out) {
  if (!value.is_object()) return refused("binds are maps of source, target and writable");
  sandbox::Bind bind;
  std::string source;
  for (const auto& [name, entry] : value.get_object()) {
    Result<> done = refused("a bind has source, target and writable, not " + std::string(name));
    if (name == "source") done = read_text(entry, source);
    if (name == "target") done = read_text(entry, bind.target);
    if (name == "writable") done = read_flag(entry, bind.writable);
    if (!done) return done;
  }
  bind.source = source;
  if (!bind.source.is_absolute() || !bind.target.starts_with('/')) {
    return refused("source and target of a bind are absolute paths");
  }
  out.push_back(std::move(bind));
  return ok;
}

Result<> read_binds(const json::value& value, std::vector<sandbox::Bind>& out) {
  if (!value.is_array()) return refused("binds is not a list");
  for (const json::value& each : value.get_array()) {
    auto done = read_bind(each, out);
    if (!done) return done;
  }
  return ok;
}

Result<> read_devices(const json::value& value, std::vector<std::filesystem::path>& out) {
  std::vector<std::string> texts;
  if (auto read = read_texts(value, texts); !read) return read;
  for (const std::string& text : texts) {
    if (std::filesystem::path(text).parent_path() != "/dev") {
      return refused("\"" + text + "\" is not directly in /dev");
    }
    out.emplace_back(text);
  }
  return ok;
}

Result<> read_runtime_field(std::string_view name, const json::value& value,
                            fleet::Runtime& runtime) {
  constexpr std::string_view known[] = {"root",
                                        "argv",
                                        "env",
                                        "binds",
                                        "devices",
                                        "blanks",
                                        "prepares",
                                        "forks",
                                        "snapshots",
                                        "reports",
                                        "loopback",
                                        "listens",
                                        "language_models",
                                        "keeps_conversations",
                                        "client_context"};
  if (name == "root") {
    std::string root;
    auto done = read_text(value, root);
    runtime.root = root;
    return done;
  }
  if (name == "argv") return read_texts(value, runtime.argv);
  if (name == "env") return read_env(value, runtime.env);
  if (name == "binds") return read_binds(value, runtime.binds);
  if (name == "devices") return read_devices(value, runtime.devices);
  if (name == "blanks") return read_number<std::int32_t>(value, 0, 1000, runtime.blanks);
  if (name == "prepares") return read_flag(value, runtime.prepares);
  if (name == "forks") return read_flag(value, runtime.forks);
  if (name == "snapshots") return read_flag(value, runtime.snapshots);
  if (name == "reports") return read_flag(value, runtime.reports);
  if (name == "loopback") return read_flag(value, runtime.loopback);
  if (name == "listens") return read_flag(value, runtime.listens);
  if (name == "language_models") return read_flag(value, runtime.language_models);
  if (name == "keeps_conversations") return read_flag(value, runtime.keeps_conversations);
  if (name == "client_context") return read_flag(value, runtime.client_context);
  return control::unknown_name("field", name, known);
}

Result<> read_runtimes(const json::value& value, DaemonConfig& config) {
  if (!value.is_object()) return refused("a map of runtimes is needed");
  for (const auto& [name, fields] : value.get_object()) {
    const std::string where(name);
    if (!fields.is_object()) return refused("\"" + where + "\" is not a map");
    fleet::Runtime runtime;
    for (const auto& [field, entry] : fields.get_object()) {
      auto done = read_runtime_field(std::string_view(field), entry, runtime);
      if (!done) return std::move(done).error().during(where + "." + std::string(field));
    }
    if (!runtime.root.is_absolute()) return refused(where + ".root is not an absolute path");
    if (runtime.argv.empty()) return refused(where + ".argv is missing");
    config.runtimes.insert_or_assign(where, std::move(runtime));
  }
  return ok;
}

Result<> read_listen(const json::value& value, DaemonConfig& config) {
  if (!value.is_string()) return refused("an address and a port, as \"127.0.0.1:8080\"");
  return set_listen(std::string_view(value.get_string()), config);
}

Result<> read_resolvers(const json::value& value, DaemonConfig& config) {
  std::vector<std::string> texts;
  if (auto read = read_texts(value, texts); !read) return read;
  for (const std::string& text : texts) {
    const auto address = sandbox::parse_ipv4(text);
    if (!address || !sandbox::may_be_allowed(*address)) {
      return refused("\"" + text + "\" is not an IPv4 address that functions could reach");
    }
    config.resolvers.push_back(*address);
  }
  return ok;
}

// A list of hosts is one function's own: its tags say it.
Result<> read_lambda_network(const json::value& value, DaemonConfig& config) {
  const auto network = control::read_network(value);
  if (!value.is_string() || !network) return refused("none or outbound is needed");
  config.lambda_network = *network;
  return ok;
}

constexpr std::uint32_t most32 = 1'000'000;
using Json = const json::value&;

const Entry entries[] = {
    {"data", "path", "`--data`", "The data directory: everything that dormouse keeps.",
     [](Json v, DaemonConfig& c) { return read_text(v, c.data); }},
    {"listen", "address:port", "`127.0.0.1:8080`", "Where to listen.", read_listen},
    {"key_file", "path", "none",
     "The keys that are accepted, as `dormouse key new` writes them. Needed to listen beyond "
     "loopback.",
     [](Json v, DaemonConfig& c) { return read_text(v, c.key_file); }},
    {"master_key_file", "path", "`master.key` in `data`",
     "The key that secrets are sealed with, 32 bytes; made if nothing was sealed yet. Elsewhere "
     "than "
     "`data`, a backup of `data` holds no secret that can be read.",
     [](Json v, DaemonConfig& c) { return read_text(v, c.master_key); }},
    {"hosts", "list of names", "none",
     "Names and addresses, besides `listen` and loopback, by which clients reach this node.",
     [](Json v, DaemonConfig& c) { return read_texts(v, c.hosts); }},
    {"node.name", "text", "the host's name", "What receipts call this node.",
     [](Json v, DaemonConfig& c) { return read_text(v, c.node_name); }},
    {"node.memory", "size", "80 % of the host's", "What all instances together may hold.",
     [](Json v, DaemonConfig& c) { return read_size(v, c.node.memory_bytes); }},
    {"node.cpu", "CPUs", "all of the host's", "What all instances together may use.",
     [](Json v, DaemonConfig& c) { return read_millicores(v, c.node.cpu_millicores); }},
    {"sandbox.oci_runtime", "name or path", "`runc`",
     "What makes the sandboxes: `runc`, `crun` or `runsc`.",
     [](Json v, DaemonConfig& c) { return read_text(v, c.oci_runtime); }},
    {"sandbox.resolvers", "list of IPv4 addresses", "the host's that are public",
     "The nameservers of functions with `network: outbound`. Private addresses are opened for it, "
     "at port 53; the node's own never are.",
     read_resolvers},
    {"lambda.network", "`none` or `outbound`", "`none`",
     "What functions that AWS's tools create may reach, unless their tag `dormouse:network` says "
     "it.",
     read_lambda_network},
    {"rates.per_call", "price", "`0.0000002`", "What a call costs.",
     [](Json v, DaemonConfig& c) { return read_price(v, c.rates.per_call); }},
    {"rates.per_gib_second", "price", "`0.0000166667`", "What a second of a declared GiB costs.",
     [](Json v, DaemonConfig& c) { return read_price(v, c.rates.per_gib_second); }},
    {"rates.bills_waking", "true or false", "`false`", "Whether waking is billed as running is.",
     [](Json v, DaemonConfig& c) { return read_flag(v, c.rates.bills_waking); }},
    {"rates.currency", "text", "`USD`", "What prices are in; only shown.",
     [](Json v, DaemonConfig& c) { return read_text(v, c.currency); }},
    {"logs.rate", "size", "`8MiB`",
     "What one instance prints is taken so fast, in a second; one that prints more waits.",
     [](Json v, DaemonConfig& c) { return read_size(v, c.output_bytes_per_second); }},
    {"conversations.disk", "size", "`4GiB`",
     "What all conversations of language models together may take on disk; the oldest used go "
     "first.",
     [](Json v, DaemonConfig& c) { return read_size(v, c.conversations.bytes_max); }},
    {"conversations.each", "size", "`512MiB`", "What is kept of one conversation, at most.",
     [](Json v, DaemonConfig& c) { return read_size(v, c.conversations.size_max); }},
    {"runtimes", "map", "those that come with the program",
     "Further runtimes: a name, and its `root` (absolute path), `argv` (list), `env` (map), "
     "`binds` (list of `source`, `target` and `writable`: of the host, in each of its sandboxes), "
     "`devices` (list of character devices directly in `/dev`, likewise), "
     "`blanks` (whole number, `1`), `prepares`, `forks`, `snapshots`, `reports`, "
     "`loopback`, "
     "`listens`, `language_models`, `keeps_conversations` and `client_context` (true or false, "
     "`false`).",
     read_runtimes},
    {"limits.bodies", "size", "`4GiB`, at most a quarter of the host's memory",
     "What the bodies of all requests and answers together may take, of those above 48 KiB; more "
     "get "
     "503.",
     [](Json v, DaemonConfig& c) { return read_size(v, c.limits.bodies_bytes_max); }},
    {"limits.connections", "whole number", "`10000`", "Connections at a time; more get 503.",
     [](Json v, DaemonConfig& c) {
       return read_number<std::uint32_t>(v, 1, most32, c.limits.connections_max);
     }},
    {"limits.header_bytes", "whole number", "`32768`", "The size of a request's head.",
     [](Json v, DaemonConfig& c) {
       return read_number<std::uint32_t>(v, 1024, most32, c.limits.header_bytes_max);
     }},
    {"limits.header_timeout", "duration", "`10s`", "For the head of a request to arrive.",
     [](Json v, DaemonConfig& c) { return read_duration(v, c.limits.header_timeout); }},
    {"limits.idle_timeout", "duration", "`75s`", "Between requests of a connection.",
     [](Json v, DaemonConfig& c) { return read_duration(v, c.limits.idle_timeout); }},
    {"limits.write_timeout", "duration", "`30s`",
     "For a client that does not read, or reads less than 1 KiB a second.",
     [](Json v, DaemonConfig& c) { return read_duration(v, c.limits.write_timeout); }},
};

// The names that may follow `section`: {"memory", "cpu", …} for "node."; the first parts for "".
std::vector<std::string_view> names_in(std::string_view section) {
  std::vector<std::string_view> names;
  for (const Entry& entry : entries) {
    if (!entry.name.starts_with(section)) continue;
    const std::string_view rest = entry.name.substr(section.size());
    const std::string_view first = rest.substr(0, rest.find('.'));
    if (names.empty() || names.back() != first) names.push_back(first);
  }
  return names;
}

Result<> read_section(const json::object& fields, const std::string& section,
                      DaemonConfig& config) {
  for (const auto& [key, value] : fields) {
    const std::string name = section + std::string(key);
    const auto entry = std::ranges::find(entries, name, &Entry::name);
    const bool dotted = std::string_view(key).find('.') != std::string_view::npos;
    if (entry != std::end(entries) && !dotted) {
      auto done = entry->read(value, config);
      if (!done) return std::move(done).error().during(name);
      continue;
    }
    const bool is_section = section.empty() && !names_in(name + ".").empty();
    if (!is_section) {
      return control::unknown_name("field", std::string_view(key), names_in(section));
    }
    if (!value.is_object()) return refused(name + " is a map");
    if (auto done = read_section(value.get_object(), name + ".", config); !done) return done;
  }
  return ok;
}

bool is_loopback(const std::string& host) {
  boost::system::error_code failure;
  return boost::asio::ip::make_address(host, failure).is_loopback();
}

}  // namespace

Result<> set_listen(std::string_view text, DaemonConfig& config) {
  const Error bad = refused("\"" + std::string(text.substr(0, 100)) +
                            "\" is not an address and a port, as \"127.0.0.1:8080\"");
  const auto colon = text.rfind(':');
  if (colon == text.npos) return bad;
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  if (host == "localhost") host = "127.0.0.1";
  boost::system::error_code failure;
  boost::asio::ip::make_address(std::string(host), failure);
  std::uint16_t number = 0;
  const auto read = std::from_chars(port.data(), port.data() + port.size(), number);
  if (failure || read.ec != std::errc() || read.ptr != port.data() + port.size()) return bad;
  config.host = std::string(host);
  config.port = number;
  return ok;
}

std::string listen_text(const std::string& host, std::uint16_t port) {
  const bool is_v6 = host.contains(':');
  return (is_v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<DaemonConfig> parse_config(std::string_view yaml) {
  const auto value = parse_yaml(yaml);
  if (!value) return value.error();
  if (!value->is_object()) return refused("a configuration is a map of fields");
  DaemonConfig config;
  if (auto done = read_section(value->get_object(), "", config); !done) return done.error();
  return config;
}

Result<> verify(const DaemonConfig& config) {
  if (config.data.empty()) return refused("data is missing: say where to keep everything (--data)");
  if (config.key_file.empty() && !is_loopback(config.host)) {
    return refused("listening on " + config.host +
                   " without a key would let everyone in: make one with `dormouse key new --file "
                   "keys` and give --key-file keys");
  }
  return ok;
}

std::string config_page() {
  std::string page =
      "# The configuration of `dormouse serve`\n\n"
      "A YAML file, given with `--config`; what the command line says goes first. Check one with "
      "`dormouse\nconfig check FILE`. An unknown field is an error.\n\n"
      "| field | form | if left out | meaning |\n|---|---|---|---|\n";
  for (const Entry& entry : entries) {
    page += "| `" + std::string(entry.name) + "` | " + std::string(entry.form) + " | " +
            std::string(entry.otherwise) + " | " + std::string(entry.meaning) + " |\n";
  }
  return page +
         "\nA dot is a level: `node.memory` is `memory` under `node`. Sizes, durations and CPUs "
         "are "
         "written as in\n[dormouse.yaml](manifest.md). A price is a decimal number with at most 12 "
         "decimals, kept exactly.\n\n"
         "```yaml\n"
         "data: /var/lib/dormouse\n"
         "listen: 0.0.0.0:8080\n"
         "key_file: /etc/dormouse/keys\n"
         "hosts: [dormouse.example]\n"
         "node:\n"
         "  memory: 12GiB\n"
         "rates:\n"
         "  per_call: 0\n"
         "  per_gib_second: 0.0000166667\n"
         "  currency: EUR\n"
         "```\n";
}

}  // namespace dormouse::cli
