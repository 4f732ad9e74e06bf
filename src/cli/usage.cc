#include <algorithm>
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

std::string usage_table(const json::value& answer) {
  const json::array& sums = list_at(answer, "sums");
  const bool has_tokens = std::ranges::any_of(
      sums, [](const json::value& sum) { return at(sum, "tokens") != nullptr; });
  std::vector<std::string> heading = {"FUNCTION", "CALLS", "FAILED", "BILLED MS"};
  if (has_tokens) heading.insert(heading.end(), {"TOKENS READ", "REUSED", "GENERATED"});
  heading.push_back(text_at(answer, "currency"));
  std::vector<std::vector<std::string>> rows;
  for (const json::value& sum : sums) {
    const auto count = [&](const char* what) { return readable_count(count_at(sum, what)); };
    const std::string name = text_at(sum, "function");
    auto& row = rows.emplace_back(std::vector<std::string>{
        name.empty() ? "all" : name, count("calls"), count("failed"), count("billed_ms")});
    if (has_tokens) {
      row.insert(row.end(), {count("tokens.prompt_read"), count("tokens.prompt_reused"),
                             count("tokens.generated")});
    }
    row.push_back(text_at(sum, "price"));
  }
  return table(heading, rows);
}

Exit usage(Shell* shell, const Options& options) {
  std::string target = "/api/v1/usage?by=" + escaped(options.by);
  if (!options.since.empty()) target += "&since=" + escaped(options.since);
  const auto answer = Api(shell).get(target);
  if (!answer) return shell->fail(answer.error());
  if (shell->json) {
    *shell->out << json::serialize(*answer) << "\n";
    return Exit::ok;
  }
  if (!options.since.empty()) {
    const std::string since = readable_time(text_at(*answer, "since"));
    *shell->out << "since " << since.substr(0, since.rfind(':')) << " UTC\n";
  }
  *shell->out << usage_table(*answer);
  return Exit::ok;
}

}  // namespace

void add_usage(CLI::App& app, Shell* shell) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("usage", "What was used, and what it costs");
  command->add_option("--by", options->by, "function: a row for each")
      ->check(CLI::IsMember({"function"}));
  command->add_option("--since", options->since,
                      "A duration before now or a time in UTC, from the beginning of its hour; "
                      "everything, if left out");
  command->footer(
      "Examples:\n"
      "  dormouse usage --by function --since 24h\n"
      "  dormouse usage --since 2026-11-01\n\n"
      "Sums are of whole hours: of --since 90m at 22:10 they begin at 20:00, as is said above "
      "them.");
  command->callback([=] { shell->exit = usage(shell, *options); });
}

}  // namespace dormouse::cli
