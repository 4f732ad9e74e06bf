#include <termios.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <iostream>
#include <iterator>
#include <memory>

#include "cli/answers.h"
#include "cli/api.h"
#include "cli/commands.h"
#include "cli/files.h"
#include "cli/print.h"

namespace dormouse::cli {
namespace {

struct Options {
  std::string name, file;
};

// While it lives, what is typed is not shown.
class NoEcho {
 public:
  NoEcho() : is_terminal_(tcgetattr(STDIN_FILENO, &before_) == 0) {
    termios silent = before_;
    silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    if (is_terminal_) tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
  }
  ~NoEcho() {
    if (is_terminal_) tcsetattr(STDIN_FILENO, TCSAFLUSH, &before_);
  }
  NoEcho(const NoEcho&) = delete;
  NoEcho& operator=(const NoEcho&) = delete;

 private:
  termios before_{};
  bool is_terminal_;
};

// Typed once, without being shown; or all that is piped in, but for one newline at its end.
std::string read_value(Shell* shell, const std::string& name) {
  std::string value;
  if (shell->typed) {
    const NoEcho hidden;
    *shell->err << "The value of " << name << ", which is not shown: " << std::flush;
    std::getline(*shell->in, value);
    *shell->err << "\n";
    return value;
  }
  value.assign(std::istreambuf_iterator<char>(*shell->in), std::istreambuf_iterator<char>());
  if (value.ends_with('\n')) value.pop_back();
  return value;
}

Exit set(Shell* shell, const Options& options) {
  std::string value;
  if (options.file.empty()) {
    value = read_value(shell, options.name);
  } else {
    constexpr std::uint64_t bytes_max = 1 << 20;  // More than any secret has.
    auto read = read_whole(options.file, bytes_max);
    if (!read) return shell->fail_here(read.error());
    value = *std::move(read);
  }
  const auto answer = Api(shell).put("/api/v1/secrets/" + escaped(options.name), value);
  if (!answer) return shell->fail(answer.error());
  if (shell->json) {
    *shell->out << json::serialize(*answer) << "\n";
    return Exit::ok;
  }
  *shell->out << options.name << " is set, version " << count_at(*answer, "secret.version") << "\n";
  for (const json::value& function : list_at(*answer, "secret.functions")) {
    *shell->out << text_at(function, "") << " sees it from its next call on\n";
  }
  return Exit::ok;
}

std::string joined(const json::array& names) {
  std::string text;
  for (const json::value& name : names) text += (text.empty() ? "" : ", ") + text_at(name, "");
  return text.empty() ? "-" : text;
}

Exit list(Shell* shell) {
  const auto answer = Api(shell).get("/api/v1/secrets");
  if (!answer) return shell->fail(answer.error());
  if (shell->json) {
    *shell->out << json::serialize(*answer) << "\n";
    return Exit::ok;
  }
  std::vector<std::vector<std::string>> rows;
  for (const json::value& secret : list_at(*answer, "secrets")) {
    rows.push_back({text_at(secret, "name"), std::to_string(count_at(secret, "version")),
                    readable_time(text_at(secret, "set")), joined(list_at(secret, "functions"))});
  }
  if (rows.empty()) {
    *shell->err << "No secret yet: set one with `dormouse secret set NAME`.\n";
    return Exit::ok;
  }
  *shell->out << table({"NAME", "VERSION", "SET", "FUNCTIONS"}, rows);
  return Exit::ok;
}

Exit remove(Shell* shell, const std::string& name) {
  const auto answer = Api(shell).remove("/api/v1/secrets/" + escaped(name));
  if (!answer) return shell->fail(answer.error());
  *shell->out << (shell->json ? json::serialize(*answer) : name + " is gone") << "\n";
  return Exit::ok;
}

void add_set(CLI::App* command, Shell* shell) {
  auto options = std::make_shared<Options>();
  CLI::App* inner = command->add_subcommand("set", "Sets a secret, or gives it a new value");
  inner->add_option("NAME", options->name, "What functions call it")->required();
  inner->add_option("--from-file", options->file, "Takes the value from this file, byte by byte");
  inner->footer(
      "Examples:\n"
      "  dormouse secret set API_KEY                # asks for it, and does not show it\n"
      "  pass show api-key | dormouse secret set API_KEY\n"
      "  dormouse secret set tls-key --from-file key.pem\n\n"
      "The value is never an argument, which other users and the shell's history would see. From\n"
      "standard input, one newline at its end is left out. Up to 32 KiB of UTF-8, without NUL.\n"
      "Functions that use it see the new value from their next call on.");
  inner->fallthrough();
  inner->callback([=] { shell->exit = set(shell, *options); });
}

}  // namespace

void add_secret(CLI::App& app, Shell* shell) {
  CLI::App* command =
      app.add_subcommand("secret", "Values that functions are given, and that nobody is shown");
  command->require_subcommand(1);
  add_set(command, shell);
  CLI::App* listing = command->add_subcommand("list", "Names, versions and who uses them");
  listing->footer("Example:\n  dormouse secret list");
  listing->fallthrough();
  listing->callback([=] { shell->exit = list(shell); });
  auto name = std::make_shared<std::string>();
  CLI::App* removing =
      command->add_subcommand("rm", "Removes a secret that nothing that serves uses");
  removing->add_option("NAME", *name, "The secret")->required();
  removing->footer("Example:\n  dormouse secret rm API_KEY");
  removing->fallthrough();
  removing->callback([=] { shell->exit = remove(shell, *name); });
}

}  // namespace dormouse::cli
