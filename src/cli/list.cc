#include <boost/json.hpp>
#include <iostream>

#include "cli/answers.h"
#include "cli/api.h"
#include "cli/commands.h"
#include "cli/print.h"

namespace dormouse::cli {
namespace {

Exit list(Shell* shell) {
  const auto answer = Api(shell).get("/api/v1/functions");
  if (!answer) return shell->fail(answer.error());
  if (shell->json) {
    *shell->out << json::serialize(*answer) << "\n";
    return Exit::ok;
  }
  std::vector<std::vector<std::string>> rows;
  for (const json::value& function : list_at(*answer, "functions")) {
    const auto instances = count_at(function, "instances.busy") +
                           count_at(function, "instances.dozing") +
                           count_at(function, "instances.starting");
    const auto memory = count_at(function, "memory_bytes");
    rows.push_back({text_at(function, "name"), std::to_string(count_at(function, "revision")),
                    text_at(function, "runtime"), text_at(function, "state"),
                    std::to_string(instances), flag_at(function, "template") ? "yes" : "-",
                    std::to_string(count_at(function, "queued")),
                    memory == 0 ? "-" : readable_size(static_cast<std::uint64_t>(memory)),
                    readable_count(count_at(function, "calls")),
                    readable_count(count_at(function, "failed"))});
  }
  if (rows.empty()) {
    *shell->err << "No function yet: deploy one with `dormouse deploy model.onnx`.\n";
    return Exit::ok;
  }
  *shell->out << table({"NAME", "REVISION", "RUNTIME", "STATE", "INSTANCES", "TEMPLATE", "QUEUED",
                        "MEMORY", "CALLS", "FAILED"},
                       rows);
  return Exit::ok;
}

}  // namespace

void add_list(CLI::App& app, Shell* shell) {
  CLI::App* command =
      app.add_subcommand("list", "All functions: asleep or awake, what they hold, their calls");
  command->footer("Example:\n  dormouse list --json | jq '.functions[].name'");
  command->callback([=] { shell->exit = list(shell); });
}

}  // namespace dormouse::cli
