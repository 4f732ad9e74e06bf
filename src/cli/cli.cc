#include "cli/cli.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <boost/json.hpp>
#include <iostream>

#include "cli/commands.h"
#include "cli/print.h"
#include "cli/shell.h"
#include "control/quantities.h"
#include "control/unpacking.h"
#include "gateway/json.h"

namespace dormouse::cli {
namespace {

struct Status {
  Exit exit;
  const char* meaning;
};
constexpr std::array<Status, 8> statuses{{
    {Exit::ok, "done"},
    {Exit::failed, "the function or the platform failed"},
    {Exit::usage, "the command was wrong"},
    {Exit::unreachable, "no daemon answers at the URL"},
    {Exit::unauthorized, "no key, a wrong one, or a name the node is not known by"},
    {Exit::not_found, "there is no such function, revision, receipt or secret"},
    {Exit::refused, "malformed, too large, or in conflict with what is there"},
    {Exit::busy, "no capacity at the moment; again later helps"},
}};

using Add = void (*)(CLI::App&, Shell*);
constexpr std::array<Add, 19> commands{
    add_serve,    add_init,   add_dev,    add_deploy, add_list,          add_show,  add_revisions,
    add_rollback, add_delete, add_invoke, add_logs,   add_conversations, add_usage, add_receipt,
    add_doctor,   add_config, add_key,    add_secret, add_version};

// Options and commands of the program; the globals may stand before or after the command.
void build(CLI::App& app, Shell* shell) {
  app.description(
      "dormouse: a self-hosted serverless AI platform. Functions sleep until they are called.");
  app.name("dormouse");
  app.require_subcommand(1);
  app.add_option("--url", shell->url, "Where the daemon answers")
      ->envname("DORMOUSE_URL")
      ->capture_default_str();
  app.add_option("--key", shell->key, "The key to present")->envname("DORMOUSE_KEY");
  app.set_version_flag("--version", "dormouse " DORMOUSE_VERSION, "The version of this program");
  app.add_flag("--json", shell->json, "Answers as JSON, for programs");
  for (const Add add : commands) add(app, shell);
  for (CLI::App* command : app.get_subcommands({})) command->fallthrough();
  app.footer(
      "Begin with:\n"
      "  dormouse serve --data ~/.dormouse\n"
      "  dormouse deploy model.onnx\n"
      "  dormouse deploy model.gguf\n"
      "  dormouse init python hello && dormouse deploy hello\n"
      "  dormouse dev hello\n"
      "  dormouse list\n\nExit status:\n" +
      exit_table());
}

// CLI11 says only that a command is missing where it knows none of the name that it was given.
std::optional<std::string> unknown_command(const CLI::App& app) {
  const std::vector<std::string> left = app.remaining(true);
  const auto given = std::ranges::find_if(left, [](auto& word) { return !word.starts_with('-'); });
  if (given == left.end()) return std::nullopt;
  const auto parsed = app.get_subcommands();
  const CLI::App& of = parsed.empty() ? app : *parsed.front();
  std::vector<std::string> names;
  for (const CLI::App* each : of.get_subcommands({})) names.push_back(each->get_name());
  if (names.empty()) return std::nullopt;
  const std::vector<std::string_view> known(names.begin(), names.end());
  const std::string help = "dormouse" + (&of == &app ? "" : " " + of.get_name()) + " --help";
  return control::unknown_name("command", *given, known).message + "\nSee `" + help + "`.";
}

void print_error(std::ostream& out, const Error& error) {
  const json::object said{{"code", name(error.code)}, {"message", error.message}};
  out << json::serialize(json::object{{"error", said}}) << "\n";
}

}  // namespace

std::string exit_table() {
  std::string text;
  for (const Status& status : statuses) {
    text += "  " + std::to_string(static_cast<int>(status.exit)) + "  " + status.meaning + "\n";
  }
  return text;
}

Exit exit_of(Code code) {
  switch (code) {
    case Code::unauthorized: return Exit::unauthorized;
    case Code::not_found: return Exit::not_found;
    case Code::invalid_argument:
    case Code::conflict:
    case Code::too_large:
    case Code::unsupported: return Exit::refused;
    case Code::throttled:
    case Code::overloaded: return Exit::busy;
    case Code::deadline_exceeded:
    case Code::function_failed:
    case Code::unavailable:
    case Code::cancelled: return Exit::failed;
  }
  CHECK_UNREACHABLE("every Code has an exit status");
}

Exit Shell::fail(const Error& error) {
  // No daemon has said so: it is of what was asked for, as a URL that is none.
  if (!reached && error.code == Code::invalid_argument) return fail_here(error);
  if (json) print_error(*out, error);
  return fail_answered(error);
}

Exit Shell::fail_answered(const Error& error) {
  *err << "dormouse: " << harmless_lines(error.message) << "\n";
  const bool gone = error.code == Code::unavailable || error.code == Code::deadline_exceeded;
  if (reached || !gone) return exit_of(error.code);
  *err << "Is the daemon running? Start one with `dormouse serve`, or say where it is with --url "
          "or DORMOUSE_URL.\n";
  return Exit::unreachable;
}

Exit Shell::fail_here(const Error& error, Exit status) {
  if (json) print_error(*out, error);
  *err << "dormouse: " << harmless_lines(error.message) << "\n";
  return status;
}

Exit Shell::fail_without_root(std::string_view what, std::string_view instead) {
  std::string message(what);
  message += " needs root: functions are started with control groups, mounts and user namespaces; ";
  message += "run it with sudo, or " + std::string(instead);
  return fail_here({Code::unavailable, std::move(message)}, Exit::failed);
}

int run(Shell* shell, std::vector<std::string> arguments) {
  CLI::App app;
  // CLI11 sets no flag of a command that it refuses.
  const bool json = std::ranges::find(arguments, "--json") != arguments.end();
  build(app, shell);
  std::ranges::reverse(arguments);  // As CLI11 takes them.
  try {
    app.parse(std::move(arguments));
  } catch (const CLI::ParseError& failure) {
    shell->json = json;
    const bool is_lacking = failure.get_name() == "RequiredError";
    const auto unknown = is_lacking ? unknown_command(app) : std::nullopt;
    if (unknown) return static_cast<int>(shell->fail_here({Code::invalid_argument, *unknown}));
    const int status = app.exit(failure, *shell->out, *shell->err);
    if (status == 0) return 0;
    if (json) print_error(*shell->out, {Code::invalid_argument, failure.what()});
    return static_cast<int>(Exit::usage);
  }
  return static_cast<int>(shell->exit);
}

std::string cli_page() {
  Shell shell;
  CLI::App app;
  build(app, &shell);
  const auto block = [](const std::string& text) { return "\n```\n" + text + "```\n"; };
  std::string page = "# The command line\n\nWhat `--help` says.\n" + block(app.help());
  for (CLI::App* command : app.get_subcommands({})) {
    page += "\n## dormouse " + command->get_name() + "\n" + block(command->help("dormouse"));
    for (CLI::App* inner : command->get_subcommands({})) {
      page += "\n## dormouse " + command->get_name() + " " + inner->get_name() + "\n" +
              block(inner->help("dormouse " + command->get_name()));
    }
  }
  return page;
}

int run(int argc, char** argv, ServeFunction serve) {
  // What the daemon starts itself as, to read a zip: no command, and no place for a Shell.
  if (argc == 2 && argv[1] == control::unpack_command) return control::unpack_here();
  Shell shell;
  shell.out = &std::cout;
  shell.err = &std::cerr;
  shell.in = &std::cin;
  shell.terminal = ::isatty(STDERR_FILENO) == 1;
  shell.typed = ::isatty(STDIN_FILENO) == 1;
  shell.root = ::geteuid() == 0;
  shell.connect = [](std::string_view url) { return http::connect(url); };
  shell.serve = std::move(serve);
  return run(&shell, std::vector<std::string>(argv + 1, argv + argc));
}

}  // namespace dormouse::cli
