// Stories of the fleet over real workers that are functions on threads: nothing here needs root.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <thread>

#include "fleet/fake_world.h"

namespace dormouse::fleet {
namespace {

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

TEST(Fleet, ChargesNoCallForWhatAnInstanceTakesWhileItWaits) {
  World world;
  world.deploy("f");
  (void)world.run(world.call("f", "x"));
  world.launcher.state.usage.cpu_time += 7ms;
  std::this_thread::sleep_for(1ms);
  const Outcome next = world.run(world.call("f", "x"));
  ASSERT_TRUE(next.receipt);
  EXPECT_EQ(next.receipt->cpu, 0us);
}

TEST(Fleet, GivesNoInstanceASecondCallWhereEachIsToHaveOne) {
  World world;
  world.deploy("f", {}, 30s, 64 << 20, 1, catalog::reuse_clean);
  for (int i = 0; i < 3; ++i) {
    const Outcome outcome = world.run(world.call("f", "hello"));
    EXPECT_EQ(World::text(outcome), "said: hello");
    ASSERT_TRUE(outcome.receipt);
    EXPECT_NE(outcome.receipt->rung, ledger::Rung::dozing) << i;
    EXPECT_EQ(world.fleet->status("f").dozing, 0) << i;
  }
}

TEST(Fleet, TellsAWorkerWhatTheClientSaysOfItselfForThatCallAlone) {
  World world(tell_context);
  world.deploy("f");
  EXPECT_EQ(World::text(world.run(world.call_from("f", R"({"custom":1})"))), R"({"custom":1})");
  EXPECT_EQ(World::text(world.run(world.call_from("f", ""))), "");
  EXPECT_EQ(World::text(world.run(world.call_from("f", "{}"))), "{}");
}

TEST(Fleet, CarriesLargeBodiesBothWays) {
  World world;
  world.deploy("f");
  const std::string large(3 << 20, 'x');
  EXPECT_EQ(World::text(world.run(world.call("f", large))), "said: " + large);
}

// What the client's bytes were received into is what the worker maps, and what the worker wrote is
// what is sent to the client.
TEST(Fleet, CopiesNoLargeBody) {
  World world(tell_inodes);
  world.deploy("f");
  auto body = http::Body::in_memfd(std::string(70'000, 'x'));
  ASSERT_TRUE(body);
  const ino_t given = inode_of(body->memfd());
  const Outcome outcome = world.run(world.call_with("f", *std::move(body)));
  ASSERT_TRUE(outcome.answer);
  const http::Body& answer = outcome.answer->body;
  ASSERT_GE(answer.memfd(), 0);
  const std::string inodes = std::to_string(given) + " " + std::to_string(inode_of(answer.memfd()));
  EXPECT_TRUE(answer.view()->starts_with(inodes + " ")) << inodes;
}

TEST(Recent, ForgetsAllButTheLast) {
  Recent recent;
  EXPECT_EQ(recent.median(), 0us);
  for (int i = 1; i <= 3; ++i) recent.add(i * 10us);
  EXPECT_EQ(recent.median(), 20us);
  for (int i = 0; i < 64; ++i) recent.add(7us);
  EXPECT_EQ(recent.median(), 7us);
  EXPECT_EQ(recent.count(), 67u);
}

// ---- secrets ----

const SecretUses both{{"LATE", {"l", catalog::When::late}}, {"INIT", {"i", catalog::When::init}}};

TEST(Secrets, ComeAllAtLoadWhereNothingIsForked) {
  World world(confide);
  world.set_secret("l", "1");
  world.set_secret("i", "2");
  world.deploy_forking("f", 1h, both, "no");
  EXPECT_EQ(World::text(world.run(world.call("f", ""))), "load: INIT=2 LATE=1 template=no");
}

TEST(Secrets, ThatAreLateReachTheForkAndNotItsTemplate) {
  World world(confide);
  world.set_secret("l", "1");
  world.set_secret("i", "2");
  world.deploy_forking("f", 1h, both);
  EXPECT_EQ(World::text(world.run(world.call("f", ""))), "load: INIT=2 template=yes; go: LATE=1");
}

TEST(Secrets, ThatChangeAreSeenByTheNextCallAndNotByOneThatRuns) {
  World world(confide);
  world.set_secret("l", "1");
  world.set_secret("i", "2");
  world.deploy_forking("f", 1h, both);
  EXPECT_EQ(World::text(world.run(world.call("f", ""))), "load: INIT=2 template=yes; go: LATE=1");
  auto runs = asio::co_spawn(world.io, world.call("f", "slow"), asio::use_future);
  ASSERT_TRUE(world.comes([&] { return world.fleet->status("f").running == 1; }));
  world.set_secret("l", "3", "f");
  EXPECT_EQ(World::text(world.run(world.call("f", ""))), "load: INIT=2 template=yes; go: LATE=3");
  world.set_secret("i", "4", "f");
  EXPECT_EQ(World::text(world.run(world.call("f", ""))), "load: INIT=4 template=yes; go: LATE=3");
  ASSERT_TRUE(world.comes([&] { return runs.wait_for(0s) == std::future_status::ready; }));
  EXPECT_EQ(World::text(runs.get()), "load: INIT=2 template=yes; go: LATE=1");
  // What had the old values is gone: one template with its spare and slots, and one blank.
  EXPECT_TRUE(world.comes([&] { return world.launcher.state.living == 2; }));
}

// K3. Short values may be anywhere, and what is `init` is there by right.
TEST(Secrets, ThatAreLateAreLookedForInTheMemoryOfTheTemplate) {
  const std::string key = "a-key-of-16-byte";
  const SecretUses late{{"LATE", {"l", catalog::When::late}}};
  const SecretUses also_init{{"LATE", {"l", catalog::When::late}},
                             {"INIT", {"l", catalog::When::init}}};
  const struct {
    std::string value, memory;
    SecretUses uses;
    bool refused;
  } cases[] = {{key, "code with " + key + " in it", late, true},
               {key, "code without it", late, false},
               {key.substr(1), "code with " + key + " in it", late, false},
               {key, "code with " + key + " in it", also_init, false}};
  for (const auto& each : cases) {
    World world(confide);
    world.launcher.state.memory = each.memory;
    world.set_secret("l", each.value);
    world.deploy_forking("f", 1h, each.uses);
    const auto called = world.run(world.call("f", ""));
    EXPECT_EQ(!called.answer, each.refused) << each.memory;
    if (called.answer) continue;
    EXPECT_TRUE(called.answer.error().message.contains("the value of its secret LATE is in the "))
        << called.answer.error().message;
  }
}

TEST(Secrets, OfAForkAreNeverOldOnesBesideNewOnes) {
  World world(confide);
  world.set_secret("l", "1");
  world.set_secret("i", "2");
  world.deploy_forking("f", 1h, both);
  const std::string before = "load: INIT=2 template=yes; go: LATE=1";
  const std::string after = "load: INIT=4 template=yes; go: LATE=3";
  EXPECT_EQ(World::text(world.run(world.call("f", ""))), before);
  // Forks are under way while these are stored, before the function serves anew.
  world.set_secret("i", "4");
  world.set_secret("l", "3");
  std::vector<std::future<Outcome>> calls;
  for (int i = 0; i < 3; ++i) {
    calls.push_back(asio::co_spawn(world.io, world.call("f", "slow"), asio::use_future));
  }
  int anew = 0;
  for (auto& call : calls) {
    ASSERT_TRUE(world.comes([&] { return call.wait_for(0s) == std::future_status::ready; }));
    const std::string said = World::text(call.get());
    EXPECT_TRUE(said == before || said == after) << said;
    anew += said == after ? 1 : 0;
  }
  EXPECT_GE(anew, 1);  // A spare may have been made before, and have served two of them.
}

TEST(Secrets, ThatCannotBeReadFailTheirFunctionWithTheReasonAndNoOther) {
  World world(confide);
  world.set_secret("i", "2");
  world.deploy_forking("lacks", 1h, both);
  world.deploy_forking("other", 1h, {{"INIT", {"i", catalog::When::init}}});
  const std::string why = World::text(world.run(world.call("lacks", "")));
  EXPECT_EQ(why, "function_failed: there is no secret \"l\"; set it with `dormouse secret set l`");
  EXPECT_EQ(World::text(world.run(world.call("other", ""))), "load: INIT=2 template=yes; go:");
}

TEST(Secrets, ThatDoNotFitAFrameFailTheirFunctionOnly) {
  World world(confide);
  SecretUses uses;
  for (const char* name : {"a", "b", "c"}) {
    world.set_secret(name, std::string(secrets::value_bytes_max, 'x'));
    uses[name] = {name, catalog::When::late};
  }
  world.deploy_forking("large", 1h, uses);
  const std::string why = World::text(world.run(world.call("large", "")));
  EXPECT_TRUE(why.contains("have together 98")) << why;
  EXPECT_TRUE(why.contains("at most 65536 reach a function")) << why;
}

// ---- networks ----

Options with_loopback() {
  Options options;
  options.runtimes["speaker"] = {.root = "/", .argv = {"x"}, .forks = true, .loopback = true};
  return options;
}

TEST(Deploys, AreRefusedIfTheNodeHasNoRoomForTheInstancesThatStayAwake) {
  constexpr std::int64_t gib = std::int64_t{1} << 30;
  Family family;
  Options options;
  options.node.memory_bytes = gib;
  World world(family.program(), std::move(options));
  const auto why_not = [&](std::int64_t memory_bytes, std::int32_t instances_min) {
    catalog::Draft draft;
    draft.manifest.name = "f";
    draft.manifest.runtime = "speaker";
    draft.manifest.resources.memory_bytes = memory_bytes;
    draft.manifest.instances_min = instances_min;
    const auto quiet = [](const std::string&) {};
    const auto tried = world.run(world.fleet->try_out(std::move(draft), {quiet, quiet}));
    return tried ? "" : tried.error().message;
  };
  EXPECT_EQ(why_not(2 * gib, 0),
            "memory: an instance is to have 2048 MiB, and all of this node together have 1024 MiB");
  EXPECT_EQ(why_not(gib / 2, 2), "");
  EXPECT_EQ(why_not(gib / 2, 3),
            "min_instances: 3 instances of 512 MiB each (`memory`) are to stay awake, and all of "
            "this node together have 1024 MiB");
}

TEST(Networks, AreGivenBeforeTheCodeIsThereWithTheirNamesPinned) {
  Family family;
  World world(family.program(), with_loopback());
  world.launcher.state.names = {{"a.example", {{0xCB007107}}}};
  const auto draft = world.run(
      world.try_out({.reach = catalog::Network::Reach::allowed, .allow = {"a.example:443"}}));
  ASSERT_TRUE(draft) << draft.error().message;
  EXPECT_EQ(draft->load_options.at("network.a.example"), "203.0.113.7");
  EXPECT_EQ(draft->notes.at("network"), "a.example is 203.0.113.7");
  ASSERT_EQ(world.launcher.state.attached.size(), 1u);
  const sandbox::Reach& reach = world.launcher.state.attached.at(0);
  EXPECT_FALSE(reach.world);
  EXPECT_EQ(reach.allowed, (std::vector<sandbox::Endpoint>{{{0xCB007107}, 443}}));
}

TEST(Networks, AreNotGivenToWhoDoesNotAsk) {
  Family family;
  World world(family.program(), with_loopback());
  EXPECT_TRUE(world.run(world.try_out()));
  EXPECT_TRUE(world.launcher.state.attached.empty());
}

TEST(Networks, ThatCannotBeFailTheDeploy) {
  const catalog::Network world_at_large{.reach = catalog::Network::Reach::outbound};
  const catalog::Network inside{.reach = catalog::Network::Reach::allowed, .allow = {"db:1"}};
  Family family;
  const auto why = [](const auto& tried) { return tried ? "" : tried.error().message; };
  {
    World without(family.program());
    EXPECT_EQ(why(without.run(without.try_out(world_at_large))),
              "network: the runtime speaker has none; leave `network` out");
  }
  World world(family.program(), with_loopback());
  world.launcher.state.names = {{"db", {{0x0A000007}}}};
  EXPECT_TRUE(why(world.run(world.try_out(inside))).contains("10.0.0.7, of a private network"));
  EXPECT_TRUE(world.launcher.state.attached.empty());
  world.launcher.state.attach_fails = Error{Code::unavailable, "nft is not installed"};
  EXPECT_EQ(why(world.run(world.try_out(world_at_large))), "network: nft is not installed");
  EXPECT_TRUE(world.launcher.state.revealed.empty());
}

TEST(Blanks, OfARuntimeThatDoesNotWaitUnusedWaitFromItsFirstFunctionOn) {
  Options options;
  options.runtimes["speaker"] = {.root = "/", .argv = {"x"}, .waits_unused = false};
  World world(speak, std::move(options));
  world.io.restart();
  world.io.run_for(50ms);
  EXPECT_TRUE(world.launcher.state.launched.empty());
  world.deploy("f");
  EXPECT_TRUE(world.comes([&] { return world.fleet->snapshot().blanks["speaker"] == 1; }));
}

// As a card that was there when the function was deployed, and is not after a restart.
TEST(Blanks, OfARuntimeThatTheNodeHasLostCannotBeHad) {
  World world;
  auto revision = std::make_shared<catalog::Revision>(
      catalog::Revision{{}, "default", 1, catalog::digest_of({}), {}});
  revision->manifest.name = "f";
  revision->manifest.runtime = "lost";
  revision->manifest.resources.memory_bytes = 64 << 20;
  revision->manifest.instances_min = 1;
  world.serve(revision);
  EXPECT_EQ(World::text(world.run(world.call("f", "hello"))),
            "unavailable: this node has no runtime lost any more");
  EXPECT_FALSE(world.fleet->status("f").snapshot_is_stale);
  world.deploy("g");
  EXPECT_EQ(World::text(world.run(world.call("g", "hello"))), "said: hello");
}

TEST(Blanks, AreNotMadeBesideWhatWantsToBeLeftAlone) {
  Options options;
  options.runtimes["speaker"] = {.root = "/", .argv = {"x"}, .left_alone = 10s};
  World world(speak, std::move(options));
  world.deploy("f");
  const auto blanks = [&] { return world.fleet->snapshot().blanks["speaker"]; };
  EXPECT_TRUE(world.comes([&] { return blanks() == 1; }));
  EXPECT_EQ(World::text(world.run(world.call("f", "hello"))), "said: hello");
  world.io.restart();
  world.io.run_for(50ms);
  EXPECT_EQ(blanks(), 0);
  // Who wants one meanwhile has one made.
  world.deploy("g");
  EXPECT_EQ(World::text(world.run(world.call("g", "hello"))), "said: hello");
}

TEST(Fleet, KeepsAnInstanceThatOnlyDislikedTheRequest) {
  World world;
  world.deploy("f");
  const Outcome bad = world.run(world.call("f", "fail"));
  EXPECT_EQ(World::text(bad), "invalid_argument: I do not like it");
  EXPECT_EQ(world.run(world.call("f", "x")).receipt->rung, ledger::Rung::dozing);
}

TEST(Fleet, HandsOutNoBlankSandboxThatIsDead) {
  const auto lives = std::make_shared<std::atomic<int>>(0);
  World world([lives](int socket) { (*lives)++ == 0 ? die_blank(socket) : speak(socket); });
  world.deploy("f");
  while (world.fleet->snapshot().blanks["speaker"] == 0) world.io.run_one();
  usleep(20'000);
  EXPECT_EQ(World::text(world.run(world.call("f", "hello"))), "said: hello");
}

TEST(Fleet, StartsAnotherForOneThatWasKilledFromOutsideWhileItStarted) {
  for (const bool is_killed : {true, false}) {
    const auto lives = std::make_shared<std::atomic<int>>(0);
    World world([lives](int socket) { (*lives)++ == 0 ? die_at_load(socket) : speak(socket); });
    world.launcher.state.killed_from_outside = is_killed ? 1 : 0;
    world.deploy("f");
    while (world.fleet->snapshot().blanks["speaker"] == 0) world.io.run_one();
    const std::string text = World::text(world.run(world.call("f", "hello")));
    EXPECT_EQ(text == "said: hello", is_killed) << text;
  }
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

// S3. The platform's own limit of patience: others are served meanwhile as if it were not there.
TEST(Fleet, EndsAForkBombAndHoldsItsFunctionBack) {
  World world;
  world.deploy("f");
  world.deploy("g");
  while (world.fleet->snapshot().blanks["speaker"] == 0) world.io.run_one();
  world.launcher.state.bomb = "fake-1";
  const Outcome bomb = world.run(world.call("f", "slow"));
  EXPECT_EQ(World::text(bomb),
            "function_failed: OutOfProcesses: the function went on making processes beyond its 64 "
            "(the invocation may have run)");
  ASSERT_TRUE(bomb.receipt);
  EXPECT_EQ(bomb.receipt->failure, Code::function_failed);
  const Outcome held = world.run(world.call("f", "hello"));
  ASSERT_FALSE(held.answer);
  EXPECT_EQ(held.answer.error().code, Code::unavailable);
  EXPECT_TRUE(held.answer.error().message.contains("(OutOfProcesses: "));
  EXPECT_EQ(held.retry_after, 2s);
  EXPECT_FALSE(held.receipt);
  EXPECT_TRUE(world.fleet->status("f").kept_back);
  EXPECT_EQ(World::text(world.run(world.call("g", "hello"))), "said: hello");
}

TEST(Fleet, EndsAForkBombThatIsStillStarting) {
  World world([](int socket) {
    Talker talker(socket);
    wire::FrameReceiver receiver(socket);
    while (const auto frame = receiver.receive()) {  // And never says that it is ready.
      if (!*frame) break;
    }
  });
  world.deploy("f");
  while (world.fleet->snapshot().blanks["speaker"] == 0) world.io.run_one();
  world.launcher.state.bomb = "fake-1";
  const Outcome outcome = world.run(world.call("f", "x"));
  EXPECT_EQ(World::text(outcome),
            "function_failed: it ended while starting: OutOfProcesses: the function went on making "
            "processes beyond its 64");
  EXPECT_FALSE(outcome.receipt);
}

TEST(Fleet, BlamesNoCallerForWhatDoesNotStart) {
  World world(find_no_model);
  world.deploy("f");
  EXPECT_EQ(World::text(world.run(world.call("f", "x"))), "function_failed: the model is gone");
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

TEST(Fleet, BreaksOffAnInstanceThatAsksForRoomItMayNotHave) {
  for (const char* how : {"for no more", "thrice", "another's", "too much", "overfull"}) {
    World world(ask_too_much);
    world.deploy("f");
    const std::string text = World::text(world.run(world.call("f", how)));
    EXPECT_TRUE(text.starts_with("function_failed: the worker")) << how << ": " << text;
  }
}

// Asks for room, then for more, and answers from there.
void ask_for_more(int socket) {
  Talker talker(socket);
  int given = 0;
  while (const auto frame = talker.hear()) {
    const std::uint64_t handle = frame->header.handle;
    if (frame->header.type == wire::Type::invoke) {
      const auto items = wire::decode_items(frame->payload);
      talker.say(wire::Type::ask_room, items->front().handle, wire::encode_ask_room(100'000));
    } else if (frame->header.type == wire::Type::room && ++given == 1) {
      talker.say(wire::Type::ask_room, handle, wire::encode_ask_room(200'000));
    } else if (frame->header.type == wire::Type::room) {
      CHECK(pwrite(frame->descriptors.front().number(), "end", 3, 199'997) == 3);
      wire::Answer answer;
      answer.in_memfd = true;
      answer.body_size = 200'000;
      talker.say(wire::Type::result, handle, wire::encode(answer));
    }
  }
}

TEST(Fleet, GivesMoreRoomForAnAnswerThatTurnsOutLonger) {
  World world(ask_for_more);
  world.deploy("f");
  const std::string text = World::text(world.run(world.call("f", "x")));
  EXPECT_EQ(text.size(), 200'000u) << text.substr(0, 200);
  EXPECT_TRUE(text.ends_with("end"));
}

// Somebody else has the other end of its output, and fills it for as long as it is read.
TEST(Fleet, ReadsNotForEverWhatIsPrintedForTheDead) {
  std::signal(SIGPIPE, SIG_IGN);  // The reader goes first.
  std::atomic<bool> over = false;
  std::vector<std::thread> printers;
  {
    World world(die);
    world.launcher.state.printer = [&](wire::Descriptor output) {
      fcntl(output.number(), F_SETFL, O_NONBLOCK);
      printers.emplace_back([&over, to = std::make_shared<wire::Descriptor>(std::move(output))] {
        const std::string lines(4096, '\n');
        while (!over) (void)!write(to->number(), lines.data(), lines.size());
      });
    };
    world.deploy("f");
    EXPECT_EQ(world.run(world.call("f", "x")).answer.error().code, Code::function_failed);
    over = true;
  }
  for (auto& each : printers) each.join();
}

// To close one may take as long as whoever sent it likes.
TEST(Fleet, TakesNoDescriptorsFromAWorker) {
  std::atomic<bool> sent = true;
  World world([&](int socket) {
    Talker talker(socket);
    if (!talker.hear()) return;
    std::string out;
    wire::append_frame(out, wire::Type::result, 0, 1, wire::encode(wire::Answer{}), 1);
    sent = wire::send_all(socket, out, {socket}).has_value();
  });
  constexpr int so_passrights = 83;
  const int pair = ::socket(AF_UNIX, SOCK_STREAM, 0), off = 0;
  const bool can = setsockopt(pair, SOL_SOCKET, so_passrights, &off, sizeof(off)) == 0;
  close(pair);
  if (!can) GTEST_SKIP() << "this kernel cannot refuse them (Linux 6.16)";
  world.deploy("f");
  EXPECT_FALSE(world.run(world.call("f", "x")).answer);
  EXPECT_FALSE(sent);
}

TEST(Fleet, GivesNoCallToAnInstanceThatIsBeingEnded) {
  World world(answer_and_lie);
  world.deploy("f");
  for (int lies = 1; lies <= 2; ++lies) {
    EXPECT_TRUE(world.run(world.call("f", "lie")).answer);
    world.io.restart();
    while (world.launcher.state.killed < lies) world.io.run_one();
    EXPECT_TRUE(world.run(world.call("f", "honest")).answer);
  }
}

TEST(Fleet, EndsACallAtItsDeadlineAndItsInstanceWithIt) {
  World world;
  world.deploy("f", {}, 100ms);
  // A machine under load may need longer than that for a start.
  ASSERT_TRUE(
      world.comes([&] { return world.run(world.call("f", "warm up")).answer.has_value(); }));
  const Outcome late = world.run(world.call("f", "slow"));
  EXPECT_EQ(World::text(late), "deadline_exceeded: the function ran past its timeout");
  EXPECT_EQ(late.receipt->failure, Code::deadline_exceeded);
  EXPECT_GT(late.receipt->price.value, 0);
}

// As AWS's API has it.
TEST(Fleet, CountsTheTimeoutFromTheBeginIfThatIsAsked) {
  World world([](int socket) {
    usleep(200'000);
    speak(socket);
  });
  const auto revision = World::revision_of("f");
  revision->manifest.timeout = 150ms;
  world.serve(revision);
  const auto timed = [&](const char* text) {
    Invocation invocation = world.invocation_of(revision, http::Body(text));
    invocation.wishes.timed_from_begin = true;
    return World::text(world.run(world.fleet->invoke(std::move(invocation))));
  };
  EXPECT_EQ(timed("hello"), "said: hello");
  EXPECT_EQ(timed("slow"), "deadline_exceeded: the function ran past its timeout");
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

bool is_ready(const std::future<Outcome>& outcome) {
  return outcome.wait_for(0s) == std::future_status::ready;
}

// As `revision` of who answered, "warm" if it was there; or why not.
std::string answer_of(World& world, const catalog::RevisionPtr& revision, bool exactly,
                      const char* text = "x") {
  Invocation invocation = world.invocation_of(revision, http::Body(text));
  invocation.wishes.exactly = exactly;
  const auto outcome = world.run(world.fleet->invoke(std::move(invocation)));
  if (!outcome.answer || !outcome.receipt) return World::text(outcome);
  const bool warm = outcome.receipt->rung == ledger::Rung::dozing;
  return std::to_string(outcome.receipt->begun.revision) + (warm ? " warm" : "");
}

TEST(Fleet, AnswersForExactlyTheRevisionThatIsNamedBesideTheOneThatServes) {
  World world;
  const auto first = World::revision_of("f", 1);
  const auto second = World::revision_of("f", 2);
  world.serve(first);
  world.serve(second);
  EXPECT_EQ(answer_of(world, first, true), "1");
  EXPECT_EQ(answer_of(world, first, true), "1 warm");
  EXPECT_EQ(answer_of(world, first, false), "2");
  EXPECT_EQ(answer_of(world, second, true), "2 warm");
  EXPECT_EQ(world.fleet->status("f").dozing, 2);
  // What others call does not end with a deploy.
  const auto third = World::revision_of("f", 3);
  world.serve(third);
  EXPECT_EQ(answer_of(world, first, true), "1 warm");
  EXPECT_EQ(answer_of(world, second, true), "2");
  EXPECT_EQ(answer_of(world, third, true), "3");
  // One that comes to serve again is there once.
  world.serve(first);
  EXPECT_EQ(answer_of(world, first, true), "1");
  EXPECT_EQ(answer_of(world, first, false), "1 warm");
}

TEST(Fleet, AsksNothingMoreOfARevisionThatIsRetiredNorOfAFunctionThatIsGone) {
  World world;
  const auto first = World::revision_of("f", 1);
  const auto second = World::revision_of("f", 2);
  world.serve(first);
  world.serve(second);
  Invocation slow = world.invocation_of(first, http::Body("slow"));
  slow.wishes.exactly = true;
  auto runs = asio::co_spawn(world.io, world.fleet->invoke(std::move(slow)), asio::use_future);
  ASSERT_TRUE(world.comes([&] { return world.fleet->status("f").running == 1; }));
  world.fleet->retire("f", 1);
  world.fleet->retire("f", 7);  // Nothing is there of it.
  ASSERT_TRUE(world.comes([&] { return is_ready(runs); }));
  EXPECT_EQ(World::text(runs.get()), "said: slow");
  EXPECT_EQ(answer_of(world, first, true), "1");  // Anew, as after a secret changed.
  world.fleet->serve("f", nullptr);
  EXPECT_EQ(answer_of(world, first, true), "not_found: the function is gone");
  EXPECT_TRUE(world.comes([&] { return first.use_count() == 1; }));  // Its files may go.
}

TEST(Fleet, GivesManyLargeBodiesToAnInstanceThatHasJustWoken) {
  constexpr int calls = 200;  // More descriptors than one that does not read may leave unread.
  World world;
  world.deploy("f", {}, 30s, 64 << 20, calls, catalog::reuse_warm, 1);
  std::vector<std::future<Outcome>> outcomes;
  for (int i = 0; i < calls; ++i) {
    auto body = http::Body::in_memfd(std::string(60'000, 'b'));
    outcomes.push_back(
        asio::co_spawn(world.io, world.call_with("f", *std::move(body)), asio::use_future));
  }
  ASSERT_TRUE(world.comes([&] { return std::ranges::all_of(outcomes, is_ready); }));
  for (auto& each : outcomes) EXPECT_TRUE(each.get().answer);
}

TEST(Fleet, WhatThePlatformEndsIsItsOwnFaultAndFree) {
  World world;
  world.deploy("f");
  world.run(world.call("f", "warm up"));
  auto running = asio::co_spawn(world.io, world.call("f", "slow"), asio::use_future);
  ASSERT_TRUE(world.comes([&] { return world.fleet->status("f").running == 1; }));
  world.fleet->end_calls();
  ASSERT_TRUE(world.comes([&] { return is_ready(running); }));
  const Outcome ended = running.get();
  EXPECT_EQ(World::text(ended),
            "unavailable: the platform is stopping (the invocation may have run)");
  ASSERT_TRUE(ended.receipt);
  EXPECT_EQ(ended.receipt->price.value, 0);
}

TEST(Fleet, WhoRunsWhereTheRecordFailsIsNotToBlame) {
  World world;
  world.deploy("f", {}, 30s, 64 << 20, 2, catalog::reuse_warm, 1);
  world.run(world.call("f", "warm up"));
  auto running = asio::co_spawn(world.io, world.call("f", "slow"), asio::use_future);
  ASSERT_TRUE(world.comes([&] { return world.fleet->status("f").running == 1; }));
  world.ledger.fails_once = true;
  EXPECT_FALSE(world.run(world.call("f", "x")).answer);  // It was to run beside the other.
  ASSERT_TRUE(world.comes([&] { return is_ready(running); }));
  const Outcome ended = running.get();
  EXPECT_EQ(World::text(ended),
            "unavailable: the ledger could not be written (the invocation may have run)");
  EXPECT_EQ(ended.receipt->price.value, 0);
}

TEST(Fleet, ARemovedFunctionLeavesNoLog) {
  Options options;
  options.runtimes["speaker"] = {.root = "/", .argv = {"x"}, .blanks = 1, .reports = true};
  World world(speak, options);
  world.deploy("f");
  world.run(world.call("f", "warm up"));
  auto running = asio::co_spawn(world.io, world.call("f", "slow"), asio::use_future);
  ASSERT_TRUE(world.comes([&] { return world.fleet->status("f").running == 1; }));
  world.fleet->serve("f", nullptr);
  world.logs->remove("f");
  ASSERT_TRUE(world.comes([&] { return is_ready(running); }));
  EXPECT_TRUE(running.get().answer);
  const auto lines = [&] { return world.run(world.logs->read("f", {}))->lines; };
  EXPECT_TRUE(world.comes([&] { return world.fleet->status("f").running == 0; }));
  EXPECT_TRUE(world.comes([&] { return lines().empty(); }));
  EXPECT_FALSE(world.fleet->snapshot().counters.contains("f"));
}

}  // namespace
}  // namespace dormouse::fleet
