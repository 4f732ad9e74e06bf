#include "runtimes/executable/web.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <charconv>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <ranges>
#include <sstream>

#include "runtimes/executable/bootstrap.h"
#include "runtimes/include/dormouse.h"
#include "wire/worker.h"

namespace dormouse::executable {
namespace {

namespace fs = std::filesystem;

constexpr std::uint16_t program_port = 8080;
constexpr const char* path = "/usr/local/bin:/usr/bin:/bin";

std::string value_of(const wire::Options& options, const std::string& key) {
  const auto found = options.find(key);
  return found == options.end() ? "" : found->second;
}

// As the manifest says, or the program that other executables have.
std::vector<std::string> command(const wire::Options& options) {
  std::vector<std::string> words;
  for (auto next = options.find("command.0"); next != options.end();
       next = options.find("command." + std::to_string(words.size()))) {
    words.push_back(next->second);
  }
  if (words.empty()) words = {"./bootstrap"};
  return words;
}

// Where a command without a slash is found: as a shell would look for it, then beside the code.
std::string find_program(const std::string& word) {
  if (word.contains('/')) return word;
  std::istringstream folders{std::string(path)};
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string there = folder + "/" + word;
    if (access(there.c_str(), X_OK) == 0) return there;
  }
  return "./" + word;
}

std::map<std::string, std::string> environment_of(const wire::Options& options, int api_port) {
  const std::string name = value_of(options, "name");
  std::string number = value_of(options, "revision");  // None yet while it is tried out.
  number.insert(0, number.size() < 5 ? 5 - number.size() : 0, '0');
  std::map<std::string, std::string> all{
      {"HOME", "/tmp"},    {"K_CONFIGURATION", name}, {"K_REVISION", name + "-" + number},
      {"K_SERVICE", name}, {"LANG", "C.UTF-8"},       {"PATH", path},
      {"TZ", ":UTC"}};
  constexpr std::string_view own = "env.";
  for (const auto& [key, value] : options) {
    if (key.starts_with(own)) all[key.substr(own.size())] = value;
  }
  all["PORT"] = std::to_string(program_port);
  all["DORMOUSE_API"] = "127.0.0.1:" + std::to_string(api_port);
  return all;
}

std::set<std::uint16_t> ports_here() {
  std::set<std::uint16_t> ports;
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::ifstream file(table);
    std::ostringstream text;
    text << file.rdbuf();
    ports.merge(listening_ports(text.str()));
  }
  return ports;
}

// Of the time that the daemon gives, so that there is some left to say what is wrong. In µs.
std::uint64_t most_of(const std::string& milliseconds) {
  constexpr std::uint64_t share_percent = 95;
  std::uint64_t given = 0;
  std::from_chars(milliseconds.data(), milliseconds.data() + milliseconds.size(), given);
  return given * 10 * share_percent;
}

Error listens_elsewhere(const std::set<std::uint16_t>& ports) {
  constexpr std::size_t shown_max = 5;
  std::string all;
  for (const std::uint16_t port : ports | std::views::take(shown_max)) {
    all += (all.empty() ? "" : ", ") + std::to_string(port);
  }
  return {Code::function_failed,
          "it did not listen on port 8080 ($PORT) within its start_timeout; it listens on " + all};
}

// Looking takes some 50 µs: often at first, since most servers start soon, and then less so.
int pause_ms(int looks) {
  constexpr int often = 200, pause_most = 5;
  return looks < often ? 1 : pause_most;
}

}  // namespace

// A line: "0: 0100007F:1F90 00000000:0000 0A …", of which the second word is the local address and
// the fourth the state, in hexadecimal; 0A is LISTEN.
std::set<std::uint16_t> listening_ports(std::string_view table) {
  std::set<std::uint16_t> ports;
  std::istringstream lines{std::string(table)};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string number, local, remote, state;
    words >> number >> local >> remote >> state;
    const auto colon = local.rfind(':');
    if (state != "0A" || colon == local.npos) continue;
    const auto port = std::strtoul(local.c_str() + colon + 1, nullptr, 16);
    ports.insert(static_cast<std::uint16_t>(port));
  }
  return ports;
}

int WebProgram::run() {
  child_ended_ = ends_of_children();
  if (!child_ended_) return 1;
  fcntl(wire_.socket(), F_SETFD, FD_CLOEXEC);
  wire_.post(wire::Type::hello, 0,
             wire::encode(wire::Hello{.runtime = "web", .runtime_version = "1"}));
  if (!wire_.flush()) return 1;
  auto loaded = wire::await_load(receiver_);
  if (!loaded) return loaded.error().code == Code::unavailable ? 0 : wire::protocol_broken;
  if (!*loaded) return 0;
  options_ = std::move(**loaded);
  if (const auto begun = begin(); !begun) return wire_.tell_init_failed(begun.error());
  fcntl(wire_.socket(), F_SETFL, fcntl(wire_.socket(), F_GETFL) | O_NONBLOCK);
  return serve();
}

Result<> WebProgram::begin() {
  if (dormouse_drop_capabilities() != 0) {
    return system_error(Code::unavailable, "giving up capabilities");
  }
  std::vector<std::string> words = command(options_);
  words.front() = find_program(words.front());
  const fs::path program = fs::path(code_folder) / words.front();  // Or itself, if it is absolute.
  if (access(program.c_str(), F_OK) != 0) {
    return Error{Code::invalid_argument, "command: there is no program " + words.front() +
                                             "; the code has: " + names_there()};
  }
  auto clients = Clients::open(usual_port, &api_);
  if (!clients) return std::move(clients).error();
  clients_ = std::move(*clients);
  give_up_at_us_ = wire::monotonic_us() + most_of(value_of(options_, "start_ms"));
  const auto child = execute(words, environment_of(options_, clients_->port()), -1);
  if (!child) return child.error();
  child_ = *child;
  return ok;
}

int WebProgram::serve() {
  for (;;) {
    if (const auto status = turn()) {
      kill(-child_, SIGKILL);
      return *status;
    }
  }
}

std::optional<int> WebProgram::turn() {
  const short on_wire = wire_.has_more() ? POLLIN | POLLOUT : POLLIN;
  std::vector<pollfd> polled{{child_ended_.number(), POLLIN, 0}, {wire_.socket(), on_wire, 0}};
  const std::size_t own = polled.size();
  clients_->add_to(polled);
  const int patience = listens_ ? -1 : pause_ms(looks_++);
  if (poll(polled.data(), polled.size(), patience) < 0) return std::nullopt;
  if (!listens_) {
    if (const auto status = look()) return status;
  }
  if (polled[1].revents != 0) {
    if (const auto status = hear()) return status;
  }
  clients_->go_on(std::span(polled).subspan(own));
  if (!wire_.flush()) return 0;
  return polled[0].revents != 0 ? status_of(child_, child_ended_) : std::nullopt;
}

// One that listens elsewhere is given up a little before the daemon does, which cannot see that.
std::optional<int> WebProgram::look() {
  std::set<std::uint16_t> ports = ports_here();
  listens_ = ports.contains(program_port);
  if (listens_) {
    api_.serve();
    wire_.post(wire::Type::ready, 0, wire::encode(wire::Ready{}));
    return std::nullopt;
  }
  ports.erase(static_cast<std::uint16_t>(clients_->port()));
  if (ports.empty() || wire::monotonic_us() < give_up_at_us_) return std::nullopt;
  return wire_.tell_init_failed(listens_elsewhere(ports));
}

std::optional<int> WebProgram::hear() {
  for (;;) {
    auto frame = receiver_.receive();
    if (!frame) return frame.error().code == Code::unavailable ? 0 : wire::protocol_broken;
    if (!*frame) return std::nullopt;
    if ((*frame)->header.type == wire::Type::drain) {
      kill(-child_, SIGTERM);
    } else if (const auto obeyed = api_.obey(**frame); !obeyed) {
      std::fprintf(stderr, "worker: %s\n", obeyed.error().message.c_str());
      return wire::protocol_broken;
    }
  }
}

}  // namespace dormouse::executable
