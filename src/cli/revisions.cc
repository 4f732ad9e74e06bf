#include <boost/json.hpp>
#include <iostream>
#include <memory>

#include "cli/answers.h"
#include "cli/api.h"
#include "cli/commands.h"
#include "cli/print.h"

namespace dormouse::cli {
namespace {

Exit revisions(Shell* shell, const std::string& name) {
  const auto answer = Api(shell).get("/api/v1/functions/" + escaped(name) + "/revisions");
  if (!answer) return shell->fail(answer.error());
  if (shell->json) {
    *shell->out << json::serialize(*answer) << "\n";
    return Exit::ok;
  }
  std::vector<std::vector<std::string>> rows;
  for (const json::value& revision : list_at(*answer, "revisions")) {
    rows.push_back(
        {std::to_string(count_at(revision, "number")), flag_at(revision, "active") ? "serves" : "",
         readable_time(text_at(revision, "created")), std::to_string(count_at(revision, "files")),
         readable_size(static_cast<std::uint64_t>(count_at(revision, "bytes"))),
         text_at(revision, "digest").substr(0, 19)});
  }
  *shell->out << table({"REVISION", "", "DEPLOYED", "FILES", "SIZE", "DIGEST"}, rows);
  return Exit::ok;
}

}  // namespace

void add_revisions(CLI::App& app, Shell* shell) {
  auto name = std::make_shared<std::string>();
  CLI::App* command =
      app.add_subcommand("revisions", "The revisions of a function, the newest first");
  command->add_option("NAME", *name, "The function")->required();
  command->footer("Example:\n  dormouse revisions read-text-line");
  command->callback([=] { shell->exit = revisions(shell, *name); });
}

}  // namespace dormouse::cli
