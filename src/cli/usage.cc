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
  std::string by, since;
};

Exit usage(Shell* shell, const Options& options) {
  std::string target = "/api/v1/usage?by=" + escaped(options.by);
  if (!options.since.empty()) target += "&since=" + escaped(options.since);
  const auto answer = Api(shell).get(target);
  if (!answer) return shell->fail(answer.error());
  if (shell->json) {
    *shell->out << json::serialize(*answer) << "\n";
    return Exit::ok;
  }
  std::vector<std::vector<std::string>> rows;
  for (const json::value& sum : list_at(*answer, "sums")) {
    const std::string name = text_at(sum, "function");
    rows.push_back({name.empty() ? "all" : name, readable_count(count_at(sum, "calls")),
                    readable_count(count_at(sum, "failed")),
                    readable_count(count_at(sum, "billed_ms")), text_at(sum, "price")});
  }
  *shell->out << table({"FUNCTION", "CALLS", "FAILED", "BILLED MS", text_at(*answer, "currency")},
                       rows);
  return Exit::ok;
}

}  // namespace

void add_usage(CLI::App& app, Shell* shell) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("usage", "What was used, and what it costs");
  command->add_option("--by", options->by, "function: a row for each")
      ->check(CLI::IsMember({"function"}));
  command->add_option("--since", options->since,
                      "A duration before now or a time in UTC; everything, if left out");
  command->footer(
      "Examples:\n"
      "  dormouse usage --by function --since 24h\n"
      "  dormouse usage --since 2026-11-01");
  command->callback([=] { shell->exit = usage(shell, *options); });
}

}  // namespace dormouse::cli
