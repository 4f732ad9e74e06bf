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
  const auto print = [shell](const json::value& line) {
    if (shell->json) {
      *shell->out << json::serialize(line) << "\n";
    } else {
      *shell->out << readable_time(text_at(line, "at")) << "  @" << count_at(line, "revision")
                  << "  " << text_at(line, "text") << "\n";
    }
    return static_cast<bool>(shell->out->flush());
  };
  const auto done = Api(shell).stream("GET", target, "", print);
  if (!done) return shell->fail(done.error());
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
