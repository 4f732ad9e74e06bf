#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>

#include "cli/commands.h"
#include "cli/config.h"

namespace dormouse::cli {
namespace {

Exit check(Shell* shell, const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return shell->fail_here(system_error(Code::not_found, "opening " + path));
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  auto config = parse_config(text);
  Result<> good = ok;
  if (config && config->data.empty()) config->data = "given by --data";
  if (config) good = verify(*config);
  if (!config) good = config.error();
  if (!good) return shell->fail_here(std::move(good).error().during(path), Exit::refused);
  *shell->out << (shell->json ? "{\"good\":true}" : path + " is good") << "\n";
  return Exit::ok;
}

}  // namespace

void add_config(CLI::App& app, Shell* shell) {
  auto path = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("config", "About the daemon's configuration file");
  command->require_subcommand(1);
  CLI::App* inner = command->add_subcommand("check", "Says whether a configuration file is good");
  inner->add_option("FILE", *path, "The file")->required();
  inner->footer("Example:\n  dormouse config check /etc/dormouse/config.yaml");
  inner->fallthrough();
  inner->callback([=] { shell->exit = check(shell, *path); });
}

}  // namespace dormouse::cli
