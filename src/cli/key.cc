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

// What AWS's clients read: for `eval`, or a file of theirs.
std::string aws_variables(const gateway::AwsCredentials& credentials) {
  return "export AWS_ACCESS_KEY_ID=" + credentials.access_key_id +
         "\nexport AWS_SECRET_ACCESS_KEY=" + credentials.secret_access_key + "\n";
}

Exit make(Shell* shell, const std::string& path, gateway::Signs signs) {
  std::array<std::uint8_t, 32> random;
  CHECK(::getrandom(random.data(), random.size(), 0) == std::ssize(random));
  const gateway::FreshKey fresh = gateway::make_key(random, signs);
  if (!path.empty()) {
    if (auto done = append(path, fresh.line); !done) {
      return shell->fail_here(done.error(), Exit::failed);
    }
  }
  if (shell->json) {
    json::object all{{"key", fresh.key}, {"line", fresh.line}};
    if (signs == gateway::Signs::yes) {
      const auto credentials = gateway::aws_credentials_of(fresh.key);
      all["aws_access_key_id"] = credentials.access_key_id;
      all["aws_secret_access_key"] = credentials.secret_access_key;
    }
    *shell->out << json::serialize(all) << "\n";
    return Exit::ok;
  }
  *shell->out << fresh.key << "\n";
  if (path.empty()) {
    *shell->err << "Add this line to the key file; the key itself is not kept anywhere:\n"
                << fresh.line << "\n";
  } else {
    *shell->err << "Its hash is in " << path << "; the key itself is not kept anywhere.\n";
  }
  if (signs == gateway::Signs::yes) {
    *shell->err << "AWS's clients sign with a secret that is made of it (`dormouse key aws` shows "
                   "it); the\nkey file has that secret, too: keep it to yourself.\n";
  }
  return Exit::ok;
}

// A key does not show whether it was made to sign; the key file does.
Result<> check_that_it_signs(const std::string& key, const std::string& id,
                             const std::string& path) {
  const auto keys = gateway::Keys::read(path);
  if (!keys) return keys.error();
  if (keys->signing_secret(id)) return ok;
  http::Fields fields;
  fields.add("x-api-key", key);
  if (!keys->accept(fields)) return Error{Code::unauthorized, path + " does not have this key"};
  return Error{Code::unsupported, "this key was made without --aws: " + path +
                                      " has no secret of it that AWS's clients could sign with; "
                                      "make one with `dormouse key new --aws`"};
}

Exit show_aws(Shell* shell, const std::string& path) {
  if (shell->key.empty()) {
    return shell->fail_here(
        {Code::invalid_argument,
         "there is no key; set DORMOUSE_KEY to one made by `dormouse key new --aws`"});
  }
  const auto credentials = gateway::aws_credentials_of(shell->key);
  if (path.empty()) {
    *shell->err << "These are good if the key was made with --aws; --file looks whether it was.\n";
  } else if (auto signs = check_that_it_signs(shell->key, credentials.access_key_id, path);
             !signs) {
    return shell->fail_here(signs.error(), exit_of(signs.error().code));
  }
  if (shell->json) {
    const json::object both{{"aws_access_key_id", credentials.access_key_id},
                            {"aws_secret_access_key", credentials.secret_access_key}};
    *shell->out << json::serialize(both) << "\n";
    return Exit::ok;
  }
  *shell->out << aws_variables(credentials);
  return Exit::ok;
}

}  // namespace

void add_key(CLI::App& app, Shell* shell) {
  auto path = std::make_shared<std::string>();
  auto aws = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("key", "About the keys that a daemon accepts");
  command->require_subcommand(1);
  CLI::App* inner = command->add_subcommand("new", "Makes a key, and shows it this once");
  inner->add_option("--file", *path, "The key file to add its hash to; made if it is not there");
  inner->add_flag(
      "--aws", *aws,
      "AWS's clients may sign with it: the key file then has a secret, not only a hash");
  inner->footer(
      "Example:\n"
      "  export DORMOUSE_KEY=$(dormouse key new --file keys)\n"
      "  dormouse serve --data ~/.dormouse --key-file keys\n\n"
      "A line of the key file is \"sha256:\" and the key's SHA-256 in hexadecimal digits; lines\n"
      "that begin with # are comments. A daemon that runs reads the file again within a second or\n"
      "two of a change: a key opens it from then on, and one whose line is gone no longer does. A\n"
      "file without a key, or with a bad line, changes nothing, and is an error in its log.");
  inner->fallthrough();
  inner->callback(
      [=] { shell->exit = make(shell, *path, *aws ? gateway::Signs::yes : gateway::Signs::no); });
  CLI::App* shown = command->add_subcommand(
      "aws", "Shows what AWS's clients sign with, of the key in DORMOUSE_KEY");
  shown->footer(
      "Example:\n"
      "  export DORMOUSE_KEY=$(dormouse key new --aws --file keys)\n"
      "  eval \"$(dormouse key aws --file keys)\"\n"
      "  aws lambda invoke --endpoint-url http://127.0.0.1:8080 --function-name greet out.json");
  shown->add_option("--file", *path, "The key file: whether this key was made with --aws");
  shown->fallthrough();
  shown->callback([=] { shell->exit = show_aws(shell, *path); });
}

}  // namespace dormouse::cli
