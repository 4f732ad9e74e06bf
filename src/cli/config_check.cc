#include <boost/json.hpp>
#include <filesystem>
#include <iostream>
#include <memory>

#include "cli/commands.h"
#include "cli/config.h"
#include "cli/files.h"
#include "cli/print.h"
#include "cli/resolve.h"
#include "gateway/json.h"
#include "gateway/keys.h"
#include "sandbox/devices.h"
#include "sandbox/sandbox.h"
#include "secrets/master_key.h"

namespace dormouse::cli {
namespace {

namespace fs = std::filesystem;

Result<> check_key(const DaemonConfig& config) {
  const auto keys = gateway::Keys::read(config.key_file);
  if (!keys) return Error(keys.error()).during("key_file");
  return ok;
}

// One that is not there is made, if nothing was sealed yet.
Result<> check_master_key(const DaemonConfig& config) {
  const fs::path file = config.master_key;
  if (file.empty()) return ok;
  std::error_code failure;
  if (fs::exists(file, failure)) {
    const auto key = secrets::read_key(file);
    if (!key) return Error(key.error()).during("master_key_file");
    return ok;
  }
  const fs::path folder = file.has_parent_path() ? file.parent_path() : ".";
  if (fs::is_directory(folder, failure)) return ok;
  return Error{Code::not_found,
               "master_key_file: there is no folder " + folder.string() + " to make it in"};
}

Result<> check_oci_runtime(const DaemonConfig& config) {
  sandbox::LauncherOptions options;
  options.oci_runtime = config.oci_runtime;
  for (const sandbox::Finding& each : sandbox::examine_host(options)) {
    const bool is_missing = each.grade == sandbox::Finding::Grade::missing;
    if (!is_missing || !each.what.starts_with("OCI runtime")) continue;
    return Error{Code::not_found, "sandbox.oci_runtime: " + each.what + ": " + each.cost};
  }
  return ok;
}

Result<> check_runtimes(const DaemonConfig& config) {
  std::error_code failure;
  for (const auto& [name, runtime] : config.runtimes) {
    const std::string where = "runtimes." + name;
    if (!fs::is_directory(runtime.root, failure)) {
      return Error{Code::not_found, where + ".root: there is no folder " + runtime.root.string()};
    }
    for (const sandbox::Bind& bind : runtime.binds) {
      if (fs::exists(bind.source, failure)) continue;
      return Error{Code::not_found, where + ".binds: there is no " + bind.source.string()};
    }
    if (const auto devices = sandbox::look_up(runtime.devices); !devices) {
      return Error{Code::not_found, where + ".devices: " + devices.error().message};
    }
  }
  return ok;
}

// What would keep a daemon from starting here, or its functions.
Result<> check_host(const DaemonConfig& config) {
  for (const auto part : {check_key, check_master_key, check_oci_runtime, check_runtimes}) {
    if (auto good = part(config); !good) return good;
  }
  return ok;
}

// What a daemon obeys, and nobody can have meant. An empty file may be one that was not written.
std::vector<std::string> warnings_of(const DaemonConfig& config, std::string_view text) {
  const Resources host = host_resources();
  std::vector<std::string> warnings;
  if (config.node.memory_bytes > host.memory_bytes) {
    warnings.push_back("node.memory is more than this host has (" +
                       readable_size(static_cast<std::uint64_t>(host.memory_bytes)) + ")");
  }
  if (config.node.cpu_millicores > host.cpu_millicores) {
    warnings.push_back("node.cpu is more than this host has (" +
                       std::to_string(host.cpu_millicores / 1000) + ")");
  }
  if (text.empty()) warnings.emplace_back("it is empty: everything is at its default");
  return warnings;
}

void say_good(Shell* shell, const std::string& path, const std::vector<std::string>& warnings) {
  for (const std::string& each : warnings) *shell->err << "warning: " << each << "\n";
  const json::object answer{{"good", true}, {"warnings", json::value_from(warnings)}};
  *shell->out << (shell->json ? json::serialize(answer) : path + " is good") << "\n";
}

Exit check(Shell* shell, const std::string& path) {
  const auto text = read_whole(path, config_bytes_max);
  if (!text) return shell->fail_here(text.error());
  auto config = parse_config(*text);
  Result<> good = ok;
  if (config && config->data.empty()) config->data = "given by --data";
  if (config) good = verify(*config);
  if (config && good) good = check_host(*config);
  if (!config) good = config.error();
  if (!good) return shell->fail_here(std::move(good).error().during(path), Exit::refused);
  say_good(shell, path, warnings_of(*config, *text));
  return Exit::ok;
}

}  // namespace

void add_config(CLI::App& app, Shell* shell) {
  auto path = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("config", "About the daemon's configuration file");
  command->require_subcommand(1);
  CLI::App* inner =
      command->add_subcommand("check", "Says whether a configuration file is good, on this host");
  inner->add_option("FILE", *path, "The file")->required();
  inner->footer(
      "Example:\n  dormouse config check /etc/dormouse/config.yaml\n\n"
      "The files, folders and programs that it names are looked for as well. What is good but "
      "can hardly\nbe meant, as more memory than the host has, is a warning.");
  inner->fallthrough();
  inner->callback([=] { shell->exit = check(shell, *path); });
}

}  // namespace dormouse::cli
