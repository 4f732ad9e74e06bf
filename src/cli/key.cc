#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <iostream>
#include <memory>

#include "cli/commands.h"
#include "gateway/json.h"
#include "gateway/keys.h"

namespace dormouse::cli {
namespace {

// Appends a line to a file that only its owner can read.
Result<> append(const std::string& path, const std::string& line) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (file < 0) return system_error(Code::invalid_argument, "opening " + path);
  const std::string text = line + "\n";
  const bool written = ::write(file, text.data(), text.size()) == std::ssize(text);
  const Result<> result =
      written ? Result<>(ok) : system_error(Code::unavailable, "writing " + path);
  ::close(file);
  return result;
}

Exit make(Shell* shell, const std::string& path) {
  std::array<std::uint8_t, 32> random;
  CHECK(::getrandom(random.data(), random.size(), 0) == std::ssize(random));
  const gateway::FreshKey fresh = gateway::make_key(random);
  if (!path.empty()) {
    if (auto done = append(path, fresh.line); !done) {
      *shell->err << "dormouse: " << done.error().message << "\n";
      return Exit::failed;
    }
  }
  if (shell->json) {
    const json::object both{{"key", fresh.key}, {"line", fresh.line}};
    *shell->out << json::serialize(both) << "\n";
    return Exit::ok;
  }
  *shell->out << fresh.key << "\n";
  if (path.empty()) {
    *shell->err << "Add this line to the key file; the key itself is not kept anywhere:\n"
                << fresh.line << "\n";
  } else {
    *shell->err << "Its hash is in " << path << "; the key itself is not kept anywhere.\n";
  }
  return Exit::ok;
}

}  // namespace

void add_key(CLI::App& app, Shell* shell) {
  auto path = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("key", "About the keys that a daemon accepts");
  command->require_subcommand(1);
  CLI::App* inner = command->add_subcommand("new", "Makes a key, and shows it this once");
  inner->add_option("--file", *path, "The key file to add its hash to; made if it is not there");
  inner->footer(
      "Example:\n"
      "  export DORMOUSE_KEY=$(dormouse key new --file keys)\n"
      "  dormouse serve --data ~/.dormouse --key-file keys\n\n"
      "A line of the key file is \"sha256:\" and the key's SHA-256 in hexadecimal digits; lines\n"
      "that begin with # are comments.");
  inner->fallthrough();
  inner->callback([=] { shell->exit = make(shell, *path); });
}

}  // namespace dormouse::cli
