#include <algorithm>
#include <boost/json.hpp>
#include <iostream>
#include <memory>

#include "cli/answers.h"
#include "cli/api.h"
#include "cli/commands.h"
#include "cli/print.h"
#include "control/answers.h"
#include "sandbox/sandbox.h"

namespace dormouse::cli {
namespace {

json::value examine_here(const std::string& oci_runtime) {
  sandbox::LauncherOptions options;
  options.oci_runtime = oci_runtime;
  json::array findings;
  for (const sandbox::Finding& finding : sandbox::examine_host(options)) {
    findings.push_back(control::finding_json(finding));
  }
  return json::object{{"findings", std::move(findings)}};
}

Exit doctor(Shell* shell, const std::string& oci_runtime, bool asks_for_it) {
  auto answer = Api(shell).get("/api/v1/doctor");
  const bool is_asked_wrongly = !answer && answer.error().code == Code::invalid_argument;
  if (!answer && (shell->reached || is_asked_wrongly)) return shell->fail(answer.error());
  if (!answer) {
    *shell->err << "No daemon answers at " << shell->url << ": this is about this host.\n";
    answer = examine_here(oci_runtime);
  } else if (asks_for_it) {
    *shell->err << "This is about the daemon at " << shell->url
                << ", and the OCI runtime that it has; --oci-runtime is for this host, when no "
                   "daemon answers.\n";
  }
  bool missing = false;
  std::vector<std::vector<std::string>> rows;
  for (const json::value& finding : list_at(*answer, "findings")) {
    rows.push_back({text_at(finding, "grade"), text_at(finding, "what"), text_at(finding, "cost")});
    missing = missing || rows.back()[0] == "missing";
  }
  *shell->out << (shell->json ? json::serialize(*answer) + "\n"
                              : table({"", "WHAT", "WHAT IT COSTS"}, rows));
  return missing ? Exit::failed : Exit::ok;
}

}  // namespace

void add_doctor(CLI::App& app, Shell* shell) {
  auto oci_runtime = std::make_shared<std::string>("runc");
  CLI::App* command = app.add_subcommand(
      "doctor", "What the host lacks, and what that costs; of this host if no daemon answers");
  CLI::Option* asked = command
                           ->add_option("--oci-runtime", *oci_runtime,
                                        "For this host, if no daemon answers: runc, crun or runsc")
                           ->capture_default_str();
  command->footer("Example:\n  dormouse doctor\n\nThe status is 1 if something needed is missing.");
  command->callback([=] { shell->exit = doctor(shell, *oci_runtime, !asked->empty()); });
}

}  // namespace dormouse::cli
