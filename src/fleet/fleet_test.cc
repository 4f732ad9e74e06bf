// Stories of the fleet over real workers that are functions on threads: nothing here needs root.
#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <future>

#include "fleet/fleet.h"
#include "sandbox/fake_launcher.h"
#include "wire/worker.h"

namespace dormouse::fleet {
namespace {

using namespace std::chrono_literals;

// Says what it is told, and misbehaves when told to.
class Speaker final : public wire::Program {
 public:
  wire::Hello hello() override { return {wire::version, "speaker", "1"}; }
  Result<wire::Prepared> prepare(const wire::Load&) override { return wire::Prepared{}; }
  Result<wire::Ready> load(const wire::Load& load) override {
    const auto failing = load.options.find("env.FAIL");
    if (failing != load.options.end()) return Error{Code::function_failed, failing->second};
    return wire::Ready{{}, "speaker", {}};
  }
  Result<wire::Reply> invoke(wire::Invocation& invocation) override {
    const std::string said(as_text(invocation.body()));
    if (said == "fail") return Error{Code::invalid_argument, "I do not like it"};
    if (said == "slow") usleep(300'000);
    return wire::Reply{.content = {.content_type = "text/plain"}, .body = "said: " + said};
  }
};

void speak(int socket) {
  Speaker speaker;
  wire::serve(speaker, socket);
}

// Answers every call with the handle of another.
void lie(int socket) {
  const auto send = [&](wire::Type type, std::uint64_t handle, std::string_view payload) {
    std::string out;
    wire::append_frame(out, type, 0, handle, payload);
    return static_cast<bool>(wire::send_all(socket, out, {}));
  };
  wire::FrameReceiver receiver(socket);
  send(wire::Type::hello, 0, wire::encode(wire::Hello{wire::version, "liar", "1"}));
  for (;;) {
    const auto frame = receiver.receive();
    if (!frame || !*frame) return;
    if ((*frame)->header.type == wire::Type::load) {
      send(wire::Type::ready, 0, wire::encode(wire::Ready{}));
    }
    if ((*frame)->header.type == wire::Type::invoke) {
      send(wire::Type::result, 9'999, wire::encode(wire::Answer{}));
    }
  }
}

// Takes the first call with it into its grave.
void die(int socket) {
  const auto send = [&](wire::Type type, std::string_view payload) {
    std::string out;
    wire::append_frame(out, type, 0, 0, payload);
    return static_cast<bool>(wire::send_all(socket, out, {}));
  };
  wire::FrameReceiver receiver(socket);
  send(wire::Type::hello, wire::encode(wire::Hello{wire::version, "mortal", "1"}));
  for (;;) {
    const auto frame = receiver.receive();
    if (!frame || !*frame || (*frame)->header.type == wire::Type::invoke) return;
    send(wire::Type::ready, wire::encode(wire::Ready{}));
  }
}

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
    if (failing) return Error{Code::unavailable, "no space left on device"};
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
  int ended = 0;

 private:
  ledger::Ledger* real_;
};

class World {
 public:
  explicit World(std::function<void(int)> program = speak)
      : dir_(make_dir()),
        launcher(io.get_executor(), std::move(program)),
        clock_(async::system_clock()),
        store_(*store::open(dir_ / "db", ledger::migrations())),
        blobs_(*blobs::open({.dir = dir_ / "blobs"})),
        real_ledger_(
            *ledger::open(io.get_executor(), clock_.get(), store_.get(), {.dir = dir_ / "ledger"})),
        ledger(real_ledger_.get()),
        logs_(*logs::open(io.get_executor(), clock_.get(), {.dir = dir_ / "logs"})),
        fleet(make_fleet(io.get_executor(),
                         {clock_.get(), &launcher, blobs_.get(), &ledger, logs_.get()},
                         {.runtimes = {{"speaker", {.root = "/", .argv = {"x"}, .blanks = 1}}},
                          .node = {.cpu_millicores = 2000, .memory_bytes = 1 << 30},
                          .node_name = "here",
                          .dir = dir_})) {}
  ~World() {
    run(fleet->drain(1s));
    EXPECT_EQ(launcher.state.living, 0);
    EXPECT_TRUE(run(ledger.close()));
    fleet.reset();
    std::filesystem::remove_all(dir_);
  }

  void deploy(std::string name, std::map<std::string, std::string> env = {},
              Duration timeout = 30s) {
    auto revision = std::make_shared<catalog::Revision>(
        catalog::Revision{{}, "default", 1, catalog::digest_of({}), {}});
    revision->manifest.name = name;
    revision->manifest.runtime = "speaker";
    revision->manifest.timeout = timeout;
    revision->manifest.resources.memory_bytes = 64 << 20;
    for (const auto& [key, value] : env) revision->load_options["env." + key] = value;
    revisions_[name] = revision;
    fleet->serve(name, revision);
  }

  asio::awaitable<Outcome> call(std::string name, std::string text) {
    Invocation invocation{.id = InvocationId::make(clock_->wall(), {++calls_, 7}),
                          .revision = revisions_.at(name),
                          .content = {.content_type = "text/plain"},
                          .body = http::Body(std::move(text)),
                          .accepted = clock_->now()};
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
  std::unique_ptr<blobs::Blobs> blobs_;
  std::unique_ptr<ledger::Ledger> real_ledger_;

 public:
  FlakyLedger ledger;

 private:
  std::unique_ptr<logs::Logs> logs_;
  std::map<std::string, catalog::RevisionPtr> revisions_;
  std::uint64_t calls_ = 0;

 public:
  std::unique_ptr<Fleet> fleet;
};

TEST(Fleet, AnswersColdAndThenFromTheDozingInstance) {
  World world;
  world.deploy("f");
  const Outcome cold = world.run(world.call("f", "hello"));
  EXPECT_EQ(World::text(cold), "said: hello");
  ASSERT_TRUE(cold.receipt);
  EXPECT_NE(cold.receipt->rung, ledger::Rung::dozing);
  const Outcome warm = world.run(world.call("f", "again"));
  EXPECT_EQ(World::text(warm), "said: again");
  EXPECT_EQ(warm.receipt->rung, ledger::Rung::dozing);
  EXPECT_EQ(warm.receipt->wake.load, 0us);
  EXPECT_EQ(warm.receipt->response_bytes, 11u);
  EXPECT_EQ(world.fleet->status("f").dozing, 1);
}

TEST(Fleet, CarriesLargeBodiesBothWays) {
  World world;
  world.deploy("f");
  const std::string large(3 << 20, 'x');
  EXPECT_EQ(World::text(world.run(world.call("f", large))), "said: " + large);
}

TEST(Fleet, KeepsAnInstanceThatOnlyDislikedTheRequest) {
  World world;
  world.deploy("f");
  const Outcome bad = world.run(world.call("f", "fail"));
  EXPECT_EQ(World::text(bad), "invalid_argument: I do not like it");
  EXPECT_EQ(world.run(world.call("f", "x")).receipt->rung, ledger::Rung::dozing);
}

TEST(Fleet, TellsEveryWaiterWhyTheFunctionDoesNotStart) {
  World world;
  world.deploy("f", {{"FAIL", "no such model"}});
  const Outcome first = world.run(world.call("f", "x"));
  EXPECT_EQ(World::text(first), "function_failed: no such model");
  EXPECT_FALSE(first.receipt);
  EXPECT_GT(first.retry_after, 0us);
  const std::size_t launched = world.launcher.state.launched.size();
  const Outcome second = world.run(world.call("f", "x"));  // In the back-off: no start.
  EXPECT_EQ(World::text(second), "function_failed: no such model");
  EXPECT_LE(world.launcher.state.launched.size(), launched + 1);  // The next blank one at most.
  EXPECT_EQ(world.fleet->status("f").last_start_error, "no such model");
}

TEST(Fleet, SaysThatACallMayHaveRunWhenItsInstanceDies) {
  World world(die);
  world.deploy("f");
  const Outcome lost = world.run(world.call("f", "x"));
  ASSERT_FALSE(lost.answer);
  EXPECT_EQ(lost.answer.error().code, Code::function_failed);
  EXPECT_TRUE(lost.answer.error().message.ends_with("(the invocation may have run)"));
  ASSERT_TRUE(lost.receipt);
  EXPECT_EQ(lost.receipt->failure, Code::function_failed);
  EXPECT_EQ(world.ledger.ended, 1);
}

TEST(Fleet, BreaksOffAnInstanceThatAnswersForAnother) {
  World world(lie);
  world.deploy("f");
  const Outcome lost = world.run(world.call("f", "x"));
  EXPECT_EQ(World::text(lost),
            "function_failed: the worker answered a call that it was not given (the invocation may "
            "have run)");
  EXPECT_GE(world.launcher.state.killed, 1);
}

TEST(Fleet, EndsACallAtItsDeadlineAndItsInstanceWithIt) {
  World world;
  world.deploy("f", {}, 50ms);
  world.run(world.call("f", "warm up"));
  const Outcome late = world.run(world.call("f", "slow"));
  EXPECT_EQ(World::text(late), "deadline_exceeded: the function ran past its timeout");
  EXPECT_EQ(late.receipt->failure, Code::deadline_exceeded);
  EXPECT_GT(late.receipt->price.value, 0);
}

TEST(Fleet, AnswersNothingThatIsNotOnRecord) {
  World world;
  world.deploy("f");
  world.run(world.call("f", "warm up"));
  world.ledger.failing = true;
  const Outcome refused = world.run(world.call("f", "x"));
  ASSERT_FALSE(refused.answer);
  EXPECT_FALSE(refused.receipt);
  world.ledger.failing = false;
  EXPECT_EQ(World::text(world.run(world.call("f", "back"))), "said: back");
}

TEST(Fleet, ServesTheNewRevisionAndForgetsTheOld) {
  World world;
  world.deploy("f");
  world.run(world.call("f", "old"));
  world.deploy("f");
  EXPECT_EQ(World::text(world.run(world.call("f", "new"))), "said: new");
  world.fleet->serve("f", nullptr);
  EXPECT_EQ(World::text(world.run(world.call("f", "gone"))), "not_found: the function is gone");
}

}  // namespace
}  // namespace dormouse::fleet
