#include <iostream>
#include <memory>

#include "cli/commands.h"
#include "cli/config.h"
#include "cli/files.h"

namespace dormouse::cli {
namespace {

struct Options {
  std::string data, listen, config, key_file, master_key_file;
};

Result<DaemonConfig> configured(const Options& options) {
  DaemonConfig config;
  if (!options.config.empty()) {
    auto read = read_whole(options.config, config_bytes_max);
    if (!read) return read.error();
    auto parsed = parse_config(*read);
    if (!parsed) return std::move(parsed).error().during(options.config);
    config = std::move(*parsed);
  }
  if (!options.data.empty()) config.data = options.data;
  if (!config.data.empty()) config.data = real_path(config.data);
  if (!options.key_file.empty()) config.key_file = options.key_file;
  if (!options.master_key_file.empty()) config.master_key = options.master_key_file;
  if (!options.listen.empty()) {
    if (auto done = set_listen(options.listen, config); !done) return done.error();
  }
  if (auto good = verify(config); !good) return good.error();
  return config;
}

Exit serve(Shell* shell, const Options& options) {
  if (!shell->root)
    return shell->fail_without_root("serve", "have scripts/install make it a service");
  const auto config = configured(options);
  if (!config) return shell->fail_here(config.error());
  const auto served = shell->serve(*config);
  if (served) return Exit::ok;
  return shell->fail_here(served.error(), Exit::failed);
}

}  // namespace

void add_serve(CLI::App& app, Shell* shell) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("serve", "Runs the platform, until it is told to stop");
  command->add_option("--data", options->data, "The data directory: everything that it keeps");
  command->add_option("--listen", options->listen,
                      "ADDRESS:PORT to listen on; 127.0.0.1:8080 if left out");
  command->add_option("--config", options->config, "A configuration file (YAML)");
  command->add_option("--key-file", options->key_file,
                      "The keys that are accepted; needed to listen beyond loopback");
  command->add_option("--master-key-file", options->master_key_file,
                      "The key that secrets are sealed with; DATA/master.key if left out");
  command->footer(
      "Examples:\n"
      "  dormouse serve --data ~/.dormouse\n"
      "  dormouse key new --file keys\n"
      "  dormouse serve --data /var/lib/dormouse --listen 0.0.0.0:8080 --key-file keys\n\n"
      "It needs root. SIGTERM lets running calls end and leaves nothing behind.");
  command->callback([=] { shell->exit = serve(shell, *options); });
}

}  // namespace dormouse::cli
