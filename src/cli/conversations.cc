#include <boost/json.hpp>
#include <iostream>
#include <memory>

#include "cli/answers.h"
#include "cli/api.h"
#include "cli/commands.h"
#include "cli/print.h"

namespace dormouse::cli {
namespace {

struct Options {
  std::string function, forget;
  bool forgets_all = false;
};

Exit conversations(Shell* shell, const Options& options) {
  const std::string all = "/api/v1/functions/" + escaped(options.function) + "/conversations";
  const bool forgets = options.forgets_all || !options.forget.empty();
  const std::string which = options.forgets_all ? "" : "?id=" + escaped(options.forget);
  const auto answer = forgets ? Api(shell).remove(all + which) : Api(shell).get(all);
  if (!answer) return shell->fail(answer.error());
  if (shell->json) {
    *shell->out << json::serialize(*answer) << "\n";
    return Exit::ok;
  }
  if (forgets) {
    *shell->out << (options.forgets_all ? "every conversation" : harmless(options.forget))
                << " is forgotten\n";
    return Exit::ok;
  }
  std::vector<std::vector<std::string>> rows;
  for (const json::value& each : list_at(*answer, "conversations")) {
    rows.push_back({text_at(each, "id"),
                    readable_size(static_cast<std::uint64_t>(count_at(each, "bytes"))),
                    readable_time(text_at(each, "used"))});
  }
  *shell->out << table({"CONVERSATION", "SIZE", "LAST USED"}, rows);
  return Exit::ok;
}

}  // namespace

void add_conversations(CLI::App& app, Shell* shell) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("conversations", "What is kept of a language model's conversations");
  command->add_option("NAME", options->function, "The function")->required();
  auto* const one =
      command->add_option("--forget", options->forget, "Forget what is kept of this one")
          ->check([](const std::string& name) { return name.empty() ? "it is empty" : ""; });
  command->add_flag("--forget-all", options->forgets_all, "Forget what is kept of any")
      ->excludes(one);
  command->footer(
      "Examples:\n"
      "  dormouse conversations chat\n"
      "  dormouse conversations chat --forget of-tuesday\n"
      "  dormouse conversations chat --forget-all");
  command->callback([=] { shell->exit = conversations(shell, *options); });
}

}  // namespace dormouse::cli
