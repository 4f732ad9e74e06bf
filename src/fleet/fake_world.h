// A fleet with fake sandboxes and everything else real, for its tests.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <future>

#include "fleet/fleet.h"
#include "fleet/revision_secrets.h"
#include "fleet/test_workers.h"
#include "sandbox/fake_launcher.h"
#include "secrets/secrets.h"

namespace dormouse::fleet {

using namespace std::chrono_literals;

// A Ledger whose disk can be made to fail.
class FlakyLedger final : public ledger::Ledger {
 public:
  explicit FlakyLedger(ledger::Ledger* real) : real_(real) {}
  void begin(const ledger::Begun& begun) override { real_->begin(begun); }
  void end(const ledger::Receipt& receipt) override {
    ++ended;
    real_->end(receipt);
  }
  Result<> flush() override {
    if (std::exchange(fails_once, false) || failing)
      return Error{Code::unavailable, "no space left on device"};
    return real_->flush();
  }
  bool needs_flush() const override { return real_->needs_flush(); }
  asio::awaitable<Result<std::optional<ledger::Receipt>>> find(ledger::Key key) override {
    return real_->find(key);
  }
  asio::awaitable<Result<std::vector<ledger::Sum>>> usage(ledger::Query query) override {
    return real_->usage(query);
  }
  asio::awaitable<Result<>> close() override { return real_->close(); }

  bool failing = false;
  bool fails_once = false;  // The next time.
  int ended = 0;

 private:
  ledger::Ledger* real_;
};

inline std::vector<store::Migration> migrations() {
  std::vector<store::Migration> all;
  for (const auto& list : {secrets::migrations(), ledger::migrations()}) {
    all.insert(all.end(), list.begin(), list.end());
  }
  return all;
}

class World {
 public:
  explicit World(std::function<void(int)> program = speak, Options options = {})
      : dir_(make_dir()),
        launcher(io.get_executor(), std::move(program)),
        clock_(async::system_clock()),
        store_(*store::open(dir_ / "db", migrations())),
        secrets(*secrets::open(store_.get(), dir_ / "master.key")),
        blobs_(*blobs::open({.dir = dir_ / "blobs"})),
        real_ledger_(
            *ledger::open(io.get_executor(), clock_.get(), store_.get(), {.dir = dir_ / "ledger"})),
        ledger(real_ledger_.get()),
        logs(*logs::open(io.get_executor(), clock_.get(), {.dir = dir_ / "logs"})),
        conversations(
            *conversations::open(io.get_executor(), clock_.get(), {.dir = dir_ / "conversations"})),
        fleet(make_fleet(io.get_executor(),
                         {clock_.get(), &launcher, blobs_.get(), &ledger, logs.get(), secrets.get(),
                          conversations.get()},
                         with_surroundings(std::move(options), dir_))) {}
  ~World() {
    run(fleet->drain(1s));
    EXPECT_EQ(launcher.state.living, 0);
    EXPECT_TRUE(run(ledger.close()));
    fleet.reset();
    run(conversations->close());
    std::filesystem::remove_all(dir_);
  }

  // One whose instances are forked from a template.
  void deploy_forking(const std::string& name, Duration template_keep_alive,
                      const SecretUses& uses = {}, const char* is_template = "yes",
                      Duration keep_alive = 0ms, bool has_snapshot = false) {
    catalog::Manifest manifest;
    manifest.instances_max = 4;
    manifest.secrets = uses;
    manifest.keep_alive = keep_alive;
    manifest.template_keep_alive = template_keep_alive;
    manifest.resources.memory_bytes = 64 << 20;
    manifest.name = name;
    manifest.runtime = "speaker";
    auto revision = std::make_shared<catalog::Revision>(
        catalog::Revision{{.manifest = manifest}, "default", 1, catalog::digest_of({}), {}});
    revision->load_options["template"] = is_template;
    if (has_snapshot) revision->load_options["snapshot"] = "yes";
    serve(revision);
  }

  asio::awaitable<Result<catalog::Draft>> try_out(catalog::Network network = {}) {
    catalog::Draft draft;
    draft.manifest.network = std::move(network);
    draft.manifest.name = "f";
    draft.manifest.runtime = "speaker";
    draft.manifest.resources.memory_bytes = 64 << 20;
    return fleet->try_out(std::move(draft), {.progress = [](const std::string&) {},
                                             .printed = [](const std::string&) {}});
  }

  // As the control API does: stored first, then the function serves anew.
  void set_secret(std::string secret, std::string value, const std::string& function = "") {
    EXPECT_TRUE(run(secrets->set(std::move(secret), std::move(value), {1})));
    if (!function.empty()) fleet->serve(function, revisions_.at(function));
  }

  // Runs what there is to do until `there`, for a while.
  bool comes(const std::function<bool()>& there, std::chrono::milliseconds at_most = 10s) {
    const auto until = std::chrono::steady_clock::now() + at_most;
    while (!there() && std::chrono::steady_clock::now() < until) {
      io.restart();
      io.run_for(5ms);
    }
    return there();
  }

  void deploy(std::string name, std::map<std::string, std::string> env = {}, Duration timeout = 30s,
              std::int64_t memory_bytes = 64 << 20, std::int32_t concurrency = 1,
              std::string_view reuse = catalog::reuse_warm, std::int32_t instances_max = 32) {
    auto revision = revision_of(name);
    revision->manifest.timeout = timeout;
    revision->manifest.resources.memory_bytes = memory_bytes;
    revision->manifest.concurrency = concurrency;
    revision->manifest.reuse = reuse;
    revision->manifest.instances_max = instances_max;
    for (const auto& [key, value] : env) revision->load_options["env." + key] = value;
    serve(revision);
  }
  static std::shared_ptr<catalog::Revision> revision_of(const std::string& name,
                                                        std::int32_t number = 1) {
    auto revision = std::make_shared<catalog::Revision>(
        catalog::Revision{{}, "default", number, catalog::digest_of({}), {}});
    revision->manifest.name = name;
    revision->manifest.runtime = "speaker";
    revision->manifest.resources.memory_bytes = 64 << 20;
    return revision;
  }
  void serve(const catalog::RevisionPtr& revision) {
    revisions_[revision->manifest.name] = revision;
    fleet->serve(revision->manifest.name, revision);
  }

  asio::awaitable<Outcome> call(std::string name, std::string text) {
    return call_with(std::move(name), http::Body(std::move(text)));
  }
  asio::awaitable<Outcome> call_with(std::string name, http::Body body) {
    return fleet->invoke(invocation_of(revisions_.at(name), std::move(body)));
  }
  Invocation invocation_of(catalog::RevisionPtr revision, http::Body body) {
    return {.id = InvocationId::make(clock_->wall(), {++calls_, 7}),
            .revision = std::move(revision),
            .content = {.content_type = "text/plain"},
            .body = std::move(body),
            .accepted = clock_->now()};
  }

  // One of a conversation.
  asio::awaitable<Outcome> turn(std::string name, std::string conversation, std::string text) {
    Invocation invocation = invocation_of(revisions_.at(name), http::Body(std::move(text)));
    invocation.conversation = std::move(conversation);
    return fleet->invoke(std::move(invocation));
  }

  // One whose client says this of itself.
  asio::awaitable<Outcome> call_from(std::string name, std::string client_context) {
    Invocation invocation = invocation_of(revisions_.at(name), http::Body("x"));
    invocation.wishes.client_context = std::move(client_context);
    return fleet->invoke(std::move(invocation));
  }

  template <class T>
  T run(asio::awaitable<T> task) {
    auto result = asio::co_spawn(io, std::move(task), asio::use_future);
    io.restart();
    while (result.wait_for(0s) != std::future_status::ready) io.run_one();
    return result.get();
  }

  static std::string text(const Outcome& outcome) {
    return outcome.answer ? std::string(*outcome.answer->body.view())
                          : std::string(name(outcome.answer.error().code)) + ": " +
                                outcome.answer.error().message;
  }

 private:
  static Options with_surroundings(Options options, const std::filesystem::path& dir) {
    options.runtimes.try_emplace("speaker",
                                 Runtime{.root = "/", .argv = {"x"}, .blanks = 1, .forks = true});
    options.node = {.cpu_millicores = 2000, .memory_bytes = 1 << 30};
    options.node_name = "here";
    options.dir = dir;
    return options;
  }
  static std::filesystem::path make_dir() {
    char name[] = "/tmp/fleet-test-XXXXXX";
    CHECK(mkdtemp(name) != nullptr);
    return name;
  }
  std::filesystem::path dir_;

 public:
  asio::io_context io;
  sandbox::FakeLauncher launcher;

 private:
  std::unique_ptr<async::Clock> clock_;
  std::unique_ptr<store::Store> store_;

 public:
  std::unique_ptr<secrets::Secrets> secrets;

 private:
  std::unique_ptr<blobs::Blobs> blobs_;
  std::unique_ptr<ledger::Ledger> real_ledger_;

 public:
  FlakyLedger ledger;

 private:
  std::map<std::string, catalog::RevisionPtr> revisions_;
  std::uint64_t calls_ = 0;

 public:
  std::unique_ptr<logs::Logs> logs;
  std::unique_ptr<conversations::Conversations> conversations;
  std::unique_ptr<Fleet> fleet;
};

}  // namespace dormouse::fleet
