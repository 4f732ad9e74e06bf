#include <boost/json.hpp>
#include <iostream>
#include <memory>

#include "cli/answers.h"
#include "cli/api.h"
#include "cli/commands.h"

namespace dormouse::cli {
namespace {

struct Options {
  std::string name;
  std::int32_t revision = 0;
};

Exit rollback(Shell* shell, const Options& options) {
  json::object body;
  if (options.revision != 0) body["revision"] = options.revision;
  const auto answer =
      Api(shell).post("/api/v1/functions/" + escaped(options.name) + "/rollback", body);
  if (!answer) return shell->fail(answer.error());
  if (shell->json) {
    *shell->out << json::serialize(*answer) << "\n";
  } else {
    *shell->out << text_at(*answer, "revision.label") << " serves\n";
  }
  return Exit::ok;
}

}  // namespace

void add_rollback(CLI::App& app, Shell* shell) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("rollback", "Lets an earlier revision serve again");
  command->add_option("NAME", options->name, "The function")->required();
  command
      ->add_option("REVISION", options->revision,
                   "Its number; if left out, the one that served when the one that serves came")
      ->check(CLI::Range(1, 2'147'483'647));
  command->footer(
      "Examples:\n  dormouse rollback read-text-line\n  dormouse rollback read-text-line 3\n\n"
      "A deploy of the function that is not done yet is ended.");
  command->callback([=] { shell->exit = rollback(shell, *options); });
}

}  // namespace dormouse::cli
