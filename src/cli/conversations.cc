#include <boost/json.hpp>
#include <iostream>
#include <memory>

#include "cli/answers.h"
#include "cli/api.h"
#include "cli/commands.h"
#include "cli/print.h"
#include "control/manifest.h"

namespace dormouse::cli {
namespace {

struct Options {
  std::string function, forget;
  bool forgets_all = false;
};

std::string path_of(const Options& options) {
  return "/api/v1/functions/" + escaped(options.function) + "/conversations";
}

// The names of those that are to go: the daemon does not say them once they have.
Result<json::array> to_forget(Api& api, const Options& options) {
  if (!options.forgets_all) return json::array{json::string(options.forget)};
  const auto answer = api.get(path_of(options));
  if (!answer) return answer.error();
  json::array names;
  for (const json::value& each : list_at(*answer, "conversations")) names.push_back(each.at("id"));
  return names;
}

Exit forget(Shell* shell, const Options& options) {
  Api api(shell);
  auto names = to_forget(api, options);
  if (!names) return shell->fail(names.error());
  const std::string which = options.forgets_all ? "" : "?id=" + escaped(options.forget);
  const auto answer = api.remove(path_of(options) + which);
  if (!answer) return shell->fail(answer.error());
  if (shell->json) {
    const json::object said{{"function", options.function}, {"forgotten", *std::move(names)}};
    *shell->out << json::serialize(said) << "\n";
    return Exit::ok;
  }
  *shell->out << (options.forgets_all ? "every conversation" : harmless(options.forget))
              << " is forgotten\n";
  return Exit::ok;
}

// Why there may never be one.
void say_that_none_is_kept(Shell* shell, Api& api, const std::string& name) {
  const auto function = api.get("/api/v1/functions/" + escaped(name));
  const std::string runtime =
      function ? text_at(*function, "function.revision.manifest.runtime") : "";
  const bool is_other = !runtime.empty() && !control::runs_language_models(runtime);
  *shell->err << "No conversation is kept of " << harmless(name)
              << (is_other ? ": language models have some, and its runtime is " + runtime : "")
              << ".\n";
}

Exit conversations(Shell* shell, const Options& options) {
  Api api(shell);
  const auto answer = api.get(path_of(options));
  if (!answer) return shell->fail(answer.error());
  if (shell->json) {
    *shell->out << json::serialize(*answer) << "\n";
    return Exit::ok;
  }
  std::vector<std::vector<std::string>> rows;
  for (const json::value& each : list_at(*answer, "conversations")) {
    rows.push_back({text_at(each, "id"),
                    readable_size(static_cast<std::uint64_t>(count_at(each, "bytes"))),
                    readable_time(text_at(each, "used"))});
  }
  if (rows.empty()) {
    say_that_none_is_kept(shell, api, options.function);
    return Exit::ok;
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
  command->callback([=] {
    const bool forgets = options->forgets_all || !options->forget.empty();
    shell->exit = forgets ? forget(shell, *options) : conversations(shell, *options);
  });
}

}  // namespace dormouse::cli
