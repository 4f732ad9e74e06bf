// Calls that go to a program that is an HTTP server: here, the test itself.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "fleet/fake_world.h"

namespace dormouse::fleet {
namespace {

Options listening() {
  Options options;
  options.runtimes["speaker"] = {.root = "/", .argv = {"x"}, .blanks = 1, .listens = true};
  return options;
}

// The program's ends of the connections that were made to it.
struct Program {
  explicit Program(World& world) {
    world.launcher.state.connect = [this](std::uint16_t port) -> Result<wire::Descriptor> {
      EXPECT_EQ(port, program_port);
      int ends[2];
      CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
      fcntl(ends[0], F_SETFL, O_NONBLOCK);
      connections.emplace_back(ends[1]);
      return wire::Descriptor(ends[0]);
    };
  }
  void say(std::string_view text) const {
    const int to = connections.back().number();
    EXPECT_EQ(write(to, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  std::vector<wire::Descriptor> connections;
};

std::unique_ptr<Lease> lease_of(World& world, const std::string& name) {
  Outcome outcome = world.run(world.call(name, ""));
  EXPECT_TRUE(outcome.answer && outcome.answer->lease) << World::text(outcome);
  EXPECT_FALSE(outcome.receipt);
  return std::move(outcome.answer->lease);
}

asio::awaitable<Lease::Ending> end_with(Lease& lease, Lease::Traffic traffic) {
  lease.traffic() = traffic;
  return lease.end(std::nullopt);
}

asio::awaitable<std::string> ask(http::Upstream* program) {
  auto receiving = program->response(false);
  const auto head = co_await std::move(receiving);
  if (!head) co_return head.error().message;
  co_return std::string(program->take_whole().value_or("in parts"));
}

TEST(Lease, ReachesTheProgramAndKeepsItsConnectionForTheNextCall) {
  World world(speak, listening());
  Program program(world);
  world.deploy("f");
  for (int i = 0; i < 3; ++i) {
    const auto lease = lease_of(world, "f");
    EXPECT_EQ(world.fleet->status("f").running, 1);
    const auto to = world.run(lease->connect(false));
    ASSERT_TRUE(to) << to.error().message;
    program.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    EXPECT_EQ(world.run(ask(*to)), "ok");
    const Lease::Ending ending = world.run(end_with(*lease, {3, 2}));
    EXPECT_FALSE(ending.failure);
    ASSERT_TRUE(ending.receipt);
    EXPECT_EQ(ending.receipt->request_bytes, 3u);
    EXPECT_EQ(ending.receipt->response_bytes, 2u);
    EXPECT_EQ(world.fleet->status("f").running, 0);
  }
  EXPECT_EQ(program.connections.size(), 1u);
  const auto lease = lease_of(world, "f");
  EXPECT_TRUE(world.run(lease->connect(true)));
  EXPECT_EQ(program.connections.size(), 2u);
  world.run(lease->end(Error{Code::function_failed, "said nothing"}));
}

TEST(Lease, IsShutAtItsDeadline) {
  World world(speak, listening());
  Program program(world);
  world.deploy("f", {}, 150ms);
  const auto lease = lease_of(world, "f");
  const auto to = world.run(lease->connect(false));
  ASSERT_TRUE(to);
  EXPECT_EQ(world.run(ask(*to)), "the program closed the connection before it had answered");
  const Lease::Ending ending =
      world.run(lease->end(Error{Code::function_failed, "the connection broke"}));
  ASSERT_TRUE(ending.failure && ending.receipt);
  EXPECT_EQ(ending.failure->code, Code::deadline_exceeded);
  EXPECT_EQ(ending.receipt->failure, Code::deadline_exceeded);
}

TEST(Lease, ThatIsDroppedIsACallWhoseClientWentAway) {
  World world(speak, listening());
  Program program(world);
  world.deploy("f");
  lease_of(world, "f").reset();
  EXPECT_TRUE(world.comes([&] { return world.fleet->status("f").dozing == 1; }));
  EXPECT_EQ(world.ledger.ended, 1);
  EXPECT_EQ(world.fleet->snapshot().counters["f"].outcomes["cancelled"], 1u);
  EXPECT_EQ(world.launcher.state.killed, 0);  // Its instance serves on.
}

TEST(Lease, TellsHowItsInstanceDied) {
  World world(die_after_load, listening());
  Program program(world);
  world.deploy("f");
  const auto lease = lease_of(world, "f");
  const auto to = world.run(lease->connect(false));
  ASSERT_TRUE(to);
  shutdown(program.connections.back().number(), SHUT_RDWR);
  EXPECT_EQ(world.run(ask(*to)), "the program closed the connection before it had answered");
  const auto ending = world.run(lease->end(Error{Code::function_failed, "it broke"}));
  ASSERT_TRUE(ending.failure && ending.receipt);
  EXPECT_EQ(ending.failure->message,
            "the function's process exited with status 0 (the invocation may have run)");
}

TEST(Lease, GivesNoConnectionToACallThatIsNotOnRecord) {
  World world(speak, listening());
  Program program(world);
  world.deploy("f");
  lease_of(world, "f").reset();
  world.comes([&] { return world.fleet->status("f").dozing == 1; });
  world.ledger.failing = true;
  Outcome outcome = world.run(world.call("f", ""));
  if (outcome.answer) {
    const auto to = world.run(outcome.answer->lease->connect(false));
    ASSERT_FALSE(to);
    EXPECT_EQ(to.error().code, Code::unavailable);
  }
  outcome = {.answer = Answer{}, .receipt = {}};
  world.ledger.failing = false;
  EXPECT_TRUE(program.connections.empty());
}

TEST(Lease, EndsWithAWorkerThatAnswersInstead) {
  World world(answer_uninvited, listening());
  Program program(world);
  world.deploy("f");
  const auto lease = lease_of(world, "f");
  EXPECT_TRUE(world.comes([&] { return world.launcher.state.killed > 0; }));
  const auto ending = world.run(lease->end(Error{Code::function_failed, "it broke"}));
  ASSERT_TRUE(ending.failure);
  EXPECT_EQ(ending.failure->code, Code::function_failed);
}

}  // namespace
}  // namespace dormouse::fleet
