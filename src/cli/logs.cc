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
  std::string invocation;
  bool follow = false;
  int lines = 0;  // 0: as many as the daemon thinks right.
};

Exit logs(Shell* shell, const Options& options) {
  std::string target = "/api/v1/functions/" + escaped(options.name) + "/logs?follow=";
  target += options.follow ? "true" : "false";
  if (options.lines > 0) target += "&lines=" + std::to_string(options.lines);
  if (!options.invocation.empty()) target += "&invocation=" + escaped(options.invocation);
  bool is_empty = true;
  const auto print = [shell, &is_empty](const json::value& line) {
    is_empty = false;
    if (shell->json) {
      *shell->out << json::serialize(line) << "\n";
    } else {
      *shell->out << readable_time(text_at(line, "at")) << "  @" << count_at(line, "revision")
                  << "  " << text_at(line, "text") << "\n";
    }
    return static_cast<bool>(shell->out->flush());
  };
  Api api(shell);
  const auto done = api.stream("GET", target, "", print);
  if (!done) return shell->fail(done.error());
  if (!is_empty || options.invocation.empty()) return Exit::ok;
  const auto call = api.get("/api/v1/invocations/" + escaped(options.invocation));
  if (!call) return shell->fail(call.error());
  *shell->err << "This call printed nothing, or its lines are no longer kept.\n";
  return Exit::ok;
}

}  // namespace

void add_logs(CLI::App& app, Shell* shell) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("logs", "What a function printed");
  command->add_option("NAME", options->name, "The function")->required();
  command->add_flag("-f,--follow", options->follow, "Goes on with each line as it comes");
  command
      ->add_option("-n,--lines", options->lines,
                   "How many lines to begin with, the last ones [100; with --invocation 10000]")
      ->check(CLI::Range(1, 10'000));
  command->add_option("--invocation", options->invocation, "Only this call's lines");
  command->footer(
      "Examples:\n  dormouse logs read-text-line -n 20\n  dormouse logs read-text-line -f\n"
      "  dormouse logs my-function --invocation 01a20e91-7310-7ff2-a765-64ff32be7ba7\n\n"
      "A call's id is in its answer's field Dormouse-Invocation. At a concurrency above 1 it "
      "cannot\n"
      "be told whose a line is.");
  command->callback([=] { shell->exit = logs(shell, *options); });
}

}  // namespace dormouse::cli
