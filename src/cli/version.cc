#include <iostream>

#include "cli/commands.h"

namespace dormouse::cli {

void add_version(CLI::App& app, Shell* shell) {
  CLI::App* command = app.add_subcommand("version", "The version of this program");
  command->callback([=] {
    *shell->out << (shell->json ? "{\"version\":\"" DORMOUSE_VERSION "\"}"
                                : "dormouse " DORMOUSE_VERSION)
                << "\n";
  });
}

}  // namespace dormouse::cli
