#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>

#include "cli/answers.h"
#include "cli/bundle.h"
#include "cli/commands.h"
#include "cli/dev_session.h"
#include "cli/files.h"
#include "cli/print.h"
#include "hash/sha256.h"

namespace dormouse::cli {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

struct Options {
  std::string what, name;
  bool replay = false;
  std::string data, listen, config;
};

// Not in the project: what is there may be somebody else's, and the platform trusts its data.
Result<fs::path> data_of(const Options& options) {
  std::error_code failure;
  if (!options.data.empty()) return real_path(options.data);
  const char* const state = std::getenv("XDG_STATE_HOME");
  const char* const home = std::getenv("HOME");
  if (state == nullptr && home == nullptr) {
    return Error{Code::invalid_argument, "neither HOME nor XDG_STATE_HOME is set: say --data"};
  }
  const fs::path what = fs::canonical(options.what, failure);
  const fs::path base = state != nullptr ? fs::path(state) : fs::path(home) / ".local/state";
  const std::string digest = hash::hex(hash::sha256(what.string()));
  return real_path(base) / "dormouse" / (name_from(what) + "-" + digest.substr(0, 12));
}

// What another process at its port says is none of its words: it ends soon, as it cannot have that.
constexpr auto of_another = 2s, until_it_answers = 30s;

Error no_key(Error said) {
  said.message += "; the configuration's key_file has those that are accepted";
  return said;
}

// Asks until this one answers, and not somebody whose port it will not get; unavailable, with its
// own words, if it ended instead.
Result<> wait_for(Shell* shell, OwnDaemon& daemon, const fs::path& data) {
  const auto began = std::chrono::steady_clock::now();
  for (;;) {
    Shell quiet = *shell;
    const auto answer = Api(&quiet).get("/api/v1/node");
    if (answer && text_at(*answer, "data") == data) return ok;
    if (daemon.has_ended()) {
      return Error{Code::unavailable, "the platform did not start:\n" + daemon.why()};
    }
    const auto waited = std::chrono::steady_clock::now() - began;
    const bool is_refused = !answer && answer.error().code == Code::unauthorized;
    if (is_refused && waited > of_another) return no_key(answer.error());
    if (waited > until_it_answers) {
      return Error{Code::unavailable, "the platform does not answer:\n" + daemon.why()};
    }
    timespec moment{.tv_sec = 0, .tv_nsec = 10'000'000};
    nanosleep(&moment, nullptr);
  }
}

Result<std::unique_ptr<OwnDaemon>> start_daemon(Shell* shell, const Options& options) {
  const auto data = data_of(options);
  if (!data) return data.error();
  auto daemon =
      OwnDaemon::start({.data = *data, .listen = options.listen, .config = options.config});
  if (!daemon) return daemon.error();
  shell->url = (*daemon)->url();
  if (options.config.empty()) shell->key.clear();  // A configuration may name keys.
  *shell->err << "a platform of its own, at " << shell->url << ", from " << data->string() << "\n";
  if (auto started = wait_for(shell, **daemon, *data); !started) return started.error();
  return daemon;
}

Exit dev(Shell* shell, const Options& options, bool own) {
  if (own && !shell->root) {
    return shell->fail_without_root("the platform that dev starts", "say --url of one that runs");
  }
  if (auto good = Api(shell).check_url(); !own && !good) return shell->fail_here(good.error());
  const auto bundle = bundle_of(options.what, options.name);
  if (!bundle) return shell->fail_here(bundle.error());
  // On a platform that others use, what is being worked on has a name of its own.
  const bool renames = !own && options.name.empty();
  const DevOptions session{.what = options.what,
                           .name = bundle->name + (renames ? "-dev" : ""),
                           .in_folder = options.name.empty() ? bundle->name : "",
                           .replay = options.replay};
  auto watcher = Watcher::watch(options.what);
  if (!watcher) return shell->fail_here(watcher.error(), Exit::failed);
  std::unique_ptr<OwnDaemon> daemon;
  if (own) {
    auto started = start_daemon(shell, options);
    if (!started) {
      const bool is_refused = started.error().code == Code::unauthorized;
      return shell->fail_here(started.error(), is_refused ? Exit::unauthorized : Exit::failed);
    }
    daemon = *std::move(started);
  }
  const Exit exit = DevSession(shell, session, *std::move(watcher), daemon.get()).run();
  if (!own) {
    *shell->err << session.name << " is still there; `dormouse delete " << session.name
                << "` removes it\n";
  }
  return exit;
}

}  // namespace

void add_dev(CLI::App& app, Shell* shell) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("dev", "Deploys what is saved, as it is saved, and calls it from here");
  command->add_option("WHAT", options->what, "A folder, or a file, as `deploy` takes it")
      ->required();
  command->add_option("--name", options->name, "What to call the function");
  command->add_flag("--replay", options->replay, "Makes the last call again after each save");
  CLI::Option* data = command->add_option(
      "--data", options->data,
      "Where the platform keeps what it has; if left out, a folder in\n~/.local/state/dormouse");
  CLI::Option* listen = command->add_option(
      "--listen", options->listen,
      "ADDRESS:PORT of the platform; the first free port of 8090 to 8099 on loopback if left out");
  CLI::Option* config =
      command->add_option("--config", options->config, "A configuration file for the platform");
  command->footer(
      "Examples:\n"
      "  dormouse init python hello && dormouse dev hello\n"
      "  dormouse dev hello --replay\n"
      "  dormouse --url http://gpu-box:8080 dev hello     # there, as hello-dev\n\n"
      "Without --url (or DORMOUSE_URL) it starts a platform for this folder alone, and stops it at "
      "the\n"
      "end: the same program, runtimes and walls as `dormouse serve`. Its secrets and receipts are "
      "there\n"
      "the next time. Each save is a revision; one that does not start leaves the one before it "
      "serving.\n"
      "Type ? for what can be typed: a JSON body calls the function, an empty line makes the last "
      "call\nagain.");
  CLI::Option* url = app.get_option("--url");
  command->callback([=] {
    const bool own = url->empty();
    if (!own && (!data->empty() || !listen->empty() || !config->empty())) {
      shell->exit = shell->fail_here(
          {Code::invalid_argument,
           "--data, --listen and --config are of a platform that this starts; with --url it "
           "starts none"});
      return;
    }
    shell->exit = dev(shell, *options, own);
  });
}

}  // namespace dormouse::cli
