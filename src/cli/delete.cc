#include <boost/json.hpp>
#include <iostream>
#include <memory>

#include "cli/api.h"
#include "cli/commands.h"

namespace dormouse::cli {
namespace {

Exit remove(Shell* shell, const std::string& name) {
  const auto answer = Api(shell).remove("/api/v1/functions/" + escaped(name));
  if (!answer) return shell->fail(answer.error());
  *shell->out << (shell->json ? json::serialize(*answer) : name + " is gone") << "\n";
  return Exit::ok;
}

}  // namespace

void add_delete(CLI::App& app, Shell* shell) {
  auto name = std::make_shared<std::string>();
  CLI::App* command =
      app.add_subcommand("delete", "Removes a function, its revisions and its logs");
  command->add_option("NAME", *name, "The function")->required();
  command->footer("Example:\n  dormouse delete read-text-line\n\nIts receipts are kept.");
  command->callback([=] { shell->exit = remove(shell, *name); });
}

}  // namespace dormouse::cli
