#include <boost/json.hpp>
#include <iostream>
#include <memory>

#include "cli/api.h"
#include "cli/commands.h"

namespace dormouse::cli {
namespace {

struct Options {
  std::string name;
  std::int32_t revision = 0;  // 0: all of it.
};

Exit remove(Shell* shell, const Options& options) {
  std::string path = "/api/v1/functions/" + escaped(options.name);
  std::string what = options.name;
  if (options.revision != 0) {
    const std::string number = std::to_string(options.revision);
    path += "/revisions/" + number;
    what += "@" + number;
  }
  const auto answer = Api(shell).remove(path);
  if (!answer) return shell->fail(answer.error());
  *shell->out << (shell->json ? json::serialize(*answer) : what + " is gone") << "\n";
  return Exit::ok;
}

}  // namespace

void add_delete(CLI::App& app, Shell* shell) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("delete", "Removes a function, its revisions and its logs");
  command->add_option("NAME", options->name, "The function")->required();
  command
      ->add_option("--revision", options->revision,
                   "Only the revision of this number, which does not serve")
      ->check(CLI::Range(1, 2'147'483'647));
  command->footer(
      "Examples:\n  dormouse delete read-text-line\n  dormouse delete read-text-line --revision 3\n"
      "\nThe disk of files that no other revision has is free once the last call has ended. Its\n"
      "receipts are kept. A deploy of the function that is not done yet is ended.");
  command->callback([=] { shell->exit = remove(shell, *options); });
}

}  // namespace dormouse::cli
