// Templates, and the forks that instances are made of.
#include <gtest/gtest.h>

#include "fleet/fake_world.h"

namespace dormouse::fleet {
namespace {

TEST(Template, IsLoadedOnceAndForkedForEveryInstance) {
  Family family;
  World world(family.program());
  world.deploy_forking("f", 1h);
  const Outcome first = world.run(world.call("f", ""));
  EXPECT_EQ(World::text(first), "fork 1");
  // It had to be made: of a blank sandbox, or of a new one if none waited yet.
  EXPECT_NE(first.receipt->rung, ledger::Rung::from_template);
  EXPECT_NE(first.receipt->rung, ledger::Rung::dozing);
  ASSERT_TRUE(world.comes([&] { return world.fleet->status("f").dozing == 0; }));
  const Outcome second = world.run(world.call("f", ""));
  EXPECT_EQ(World::text(second), "fork 2");
  EXPECT_EQ(second.receipt->rung, ledger::Rung::from_template);
  EXPECT_EQ(second.receipt->wake.code, 0us);
  EXPECT_TRUE(world.fleet->status("f").has_template);
  EXPECT_EQ(world.launcher.state.revealed.size(), 1u);
  // One more waits, forked beforehand.
  EXPECT_TRUE(world.comes([&] { return world.launcher.state.admitted == 3; }));
}

// It computes on all processors: its first token does not wait for the next fork to be made.
TEST(Template, OfALanguageModelForksOnceTheCallHasSpoken) {
  Family family;
  Options options;
  options.runtimes["speaker"] = {
      .root = "/", .argv = {"x"}, .blanks = 1, .forks = true, .language_models = true};
  World world(family.program(), options);
  world.deploy_forking("f", 1h);
  EXPECT_EQ(World::text(world.run(world.call("f", ""))), "fork 1");
  ASSERT_TRUE(world.comes([&] {  // The next fork waits.
    return world.fleet->status("f").dozing == 0 &&
           world.run(world.fleet->details("f")).of_instance.has_value();
  }));
  const auto asked = std::chrono::steady_clock::now();
  EXPECT_EQ(World::text(world.run(world.call("f", ""))), "fork 2");
  EXPECT_TRUE(world.comes([&] { return world.launcher.state.admitted == 3; }));
  EXPECT_GE(std::chrono::steady_clock::now() - asked, 250ms);
}

TEST(Template, WhoseForkIsReadyTwiceLosesIt) {
  Family family;
  World world(family.program());
  world.deploy_forking("f", 1h);
  EXPECT_EQ(World::text(world.run(world.call("f", "ready again"))),
            "function_failed: the worker broke the protocol: a frame that it may not send (the "
            "invocation may have run)");
}

TEST(Template, IsGoneAfterItsKeepAliveAndSoAreItsSlots) {
  Family family;
  World world(family.program());
  world.deploy_forking("f", 0ms);
  EXPECT_EQ(World::text(world.run(world.call("f", ""))), "fork 1");
  // One blank waits, for whoever comes next.
  EXPECT_TRUE(world.comes([&] {
    return world.launcher.state.living == 1 && world.launcher.state.slots == 0 &&
           !world.fleet->status("f").has_template;
  }));
  const Outcome again = world.run(world.call("f", ""));
  EXPECT_TRUE(World::text(again).starts_with("fork ")) << World::text(again);
  EXPECT_NE(again.receipt->rung, ledger::Rung::from_template);
}

TEST(Template, WhoseForkIsKilledOnItsWayForksAgain) {
  Family family;
  World world(family.program());
  world.deploy_forking("f", 1h);
  world.launcher.state.gone_before_admitted = 3;
  EXPECT_EQ(World::text(world.run(world.call("f", ""))), "fork 4");
  EXPECT_EQ(world.launcher.state.gone_before_admitted, 0);
}

TEST(Template, WhoseFirstForkIsKilledOnItsWayCanBeForked) {
  Family family;
  World world(family.program());
  world.launcher.state.gone_before_admitted = 1;
  const auto draft = world.run(world.try_out());
  ASSERT_TRUE(draft) << draft.error().message;
  EXPECT_EQ(draft->notes.at("template"), "yes");
  EXPECT_EQ(world.launcher.state.gone_before_admitted, 0);
}

TEST(Template, ThatEndsCostsNoCallAndIsMadeAgain) {
  Family family;
  World world(family.program());
  world.deploy_forking("f", 1h);
  EXPECT_EQ(World::text(world.run(world.call("f", ""))), "fork 1");
  family.fall = true;  // At its next fork, for a call or beforehand.
  for (int i = 0; i < 6; ++i) {
    EXPECT_TRUE(world.comes([&] { return world.fleet->status("f").dozing == 0; }));
    const std::string said = World::text(world.run(world.call("f", "")));
    EXPECT_TRUE(said.starts_with("fork ")) << said;
    world.io.restart();
    world.io.run_for(50ms);
  }
  EXPECT_EQ(world.launcher.state.revealed.size(), 2u);
}

TEST(Template, ForkThatDiesCostsItsOwnCallOnly) {
  Family family;
  World world(family.program());
  world.deploy_forking("f", 1h);
  const std::string said = World::text(world.run(world.call("f", "die")));
  EXPECT_TRUE(said.starts_with("function_failed: ")) << said;
  const std::string next = World::text(world.run(world.call("f", "")));
  EXPECT_TRUE(next.starts_with("fork ")) << next;
  EXPECT_EQ(world.launcher.state.revealed.size(), 1u);
}

TEST(Template, IsMadeAnewWhenItIsWornAndMeanwhileServes) {
  Family family;
  World world(family.program(), {.renewal = {.forks = 3}});
  world.deploy_forking("f", 1h);
  const auto templates = [&] { return world.launcher.state.revealed.size(); };
  for (int i = 0; i < 100 && templates() < 4; ++i) {
    EXPECT_TRUE(World::text(world.run(world.call("f", ""))).starts_with("fork "));
    EXPECT_TRUE(world.fleet->status("f").has_template);
    EXPECT_TRUE(world.comes([&] { return world.fleet->status("f").dozing == 0; }));
  }
  EXPECT_GE(templates(), 4u);
  // The old ones are gone: one template, and one blank.
  EXPECT_TRUE(world.comes([&] { return world.launcher.state.living == 2; }));
}

// K5: the age counts as well where one fork serves on and no other is made.
TEST(Template, IsMadeAnewWhileOneForkServes) {
  Family family;
  World world(family.program(), {.renewal = {.age = 50ms}});
  world.deploy_forking("f", 1h, {}, "yes", 1h);
  const std::string first = World::text(world.run(world.call("f", "")));
  EXPECT_EQ(first, "fork 1");
  EXPECT_TRUE(world.comes([&] {
    EXPECT_EQ(World::text(world.run(world.call("f", ""))), first);
    return world.launcher.state.revealed.size() == 2;
  }));
}

// K5: what a template does before its first fork counts as what it took to make it, and until then
// no other is made.
TEST(Template, IsNotMadeAnewBeforeTheOneBeforeHasSettled) {
  Family family;
  Options options{.renewal = {.forks = 1, .cpu_share = 1}};
  options.runtimes["speaker"] = {
      .root = "/", .argv = {"x"}, .blanks = 1, .forks = true, .left_alone = 600ms};
  World world(family.program(), options);
  world.deploy_forking("f", 1h);
  const auto templates = [&] { return world.launcher.state.revealed.size(); };
  const auto call = [&] {
    EXPECT_TRUE(World::text(world.run(world.call("f", ""))).starts_with("fork "));
  };
  call();
  EXPECT_TRUE(world.comes([&] { return templates() == 2; }));
  const auto made = std::chrono::steady_clock::now();
  EXPECT_TRUE(world.comes([&] {
    call();
    return templates() == 3;
  }));
  EXPECT_GE(std::chrono::steady_clock::now() - made, 500ms);
}

TEST(Template, IsNotMadeAnewForAFunctionThatIsGoneMeanwhile) {
  Family family;
  World world(family.program(), {.renewal = {.forks = 1}});
  world.deploy_forking("f", 1h);
  EXPECT_EQ(World::text(world.run(world.call("f", ""))), "fork 1");
  world.fleet->serve("f", nullptr);  // Its renewal has begun.
  EXPECT_TRUE(world.comes(
      [&] { return world.launcher.state.living == 1 && world.launcher.state.slots == 0; }));
  EXPECT_LE(world.launcher.state.revealed.size(), 2u);
}

TEST(Template, IsNotMadeOfCodeThatHoldsSomethingOpen) {
  const std::pair<std::vector<std::string>, std::string> cases[] = {
      {{}, "yes"}, {{"socket:[7]"}, "holds a socket"}, {{"/tmp/log", "pipe:[8]"}, "/tmp/log"}};
  for (const auto& [files, expected] : cases) {
    Family family;
    World world(family.program());
    world.launcher.state.inherited_files = files;
    const auto draft = world.run(world.try_out());
    ASSERT_TRUE(draft) << draft.error().message;
    const std::string& said = draft->notes.at("template");
    EXPECT_TRUE(said.contains(expected)) << said;
    EXPECT_EQ(said == "yes", files.empty()) << said;
  }
}

constexpr std::string_view left_behind =
    "it has threads, which a fork would not have: a of liba.so, b";

TEST(Template, IsNotMadeOfCodeThatHasThreads) {
  Family family;
  World world(family.program());
  world.launcher.state.threads.assign(100, {"a of liba.so", "b"});
  const auto draft = world.run(world.try_out());
  ASSERT_TRUE(draft) << draft.error().message;
  EXPECT_EQ(draft->notes.at("template"), "no: its fork: " + std::string(left_behind));
}

TEST(Template, IsNotMadeOfCodeThatLeftAProcessRunning) {
  Family family;
  World world(family.program());
  world.launcher.state.processes = {"sleep"};
  const auto draft = world.run(world.try_out());
  ASSERT_TRUE(draft) << draft.error().message;
  EXPECT_EQ(draft->notes.at("template"),
            "no: its fork: it left a process running, which all others would share: sleep; start "
            "it in after_fork, or in the handler");
}

TEST(Template, MayHaveThreadsThatEndAsItForks) {
  Family family;
  World world(family.program());
  world.launcher.state.threads.assign(3, {"a of liba.so", "b"});
  const auto draft = world.run(world.try_out());
  ASSERT_TRUE(draft) << draft.error().message;
  EXPECT_EQ(draft->notes.at("template"), "yes");
}

TEST(Template, IsLookedAtAgainIfTheForkEndedThatWasLookedAt) {
  Family family;
  World world(family.program());
  world.deploy_forking("f", 1h);
  world.launcher.state.ends_as_looked_at = true;
  world.launcher.state.threads.assign(100, {"a of liba.so", "b"});
  const auto failed = world.run(world.call("f", ""));
  ASSERT_FALSE(failed.answer);
  EXPECT_LT(world.launcher.state.threads.size(), 100u);
}

TEST(Template, ThatHasThreadsAtALaterStartFailsTheCallWithThatReason) {
  Family family;
  World world(family.program());
  world.deploy_forking("f", 1h);
  world.launcher.state.threads.assign(6, {"a of liba.so", "b"});
  const auto failed = world.run(world.call("f", ""));
  ASSERT_FALSE(failed.answer);
  EXPECT_TRUE(failed.answer.error().message.contains(left_behind)) << failed.answer.error().message;
  std::string said;  // The next start keeps its distance.
  for (int i = 0; i < 200 && !said.starts_with("fork"); ++i) {
    world.io.restart();
    world.io.run_for(20ms);
    said = World::text(world.run(world.call("f", "")));
  }
  EXPECT_TRUE(said.starts_with("fork")) << said;
}

TEST(Template, ForkThatDoesNotSettleIsEnded) {
  Family family{.forks_hang = true};
  World world(family.program(), {.settling_max = 50ms});
  world.deploy_forking("f", 1h);
  const std::string said = World::text(world.run(world.call("f", "")));
  EXPECT_EQ(said.find("function_failed: after the fork: it was not ready within"), 0u) << said;
  EXPECT_TRUE(said.contains("may have run")) << said;
}

TEST(Template, AfterAForkThatDidNotSettleGivesNoCallToOneThatIsNotReady) {
  Family family{.forks_hang = true};
  World world(family.program(), {.settling_max = 50ms});
  world.deploy_forking("f", 1h);
  world.run(world.call("f", ""));
  const std::string said = World::text(world.run(world.call("f", "")));
  EXPECT_TRUE(said.contains("after the fork: it was not ready within")) << said;
  EXPECT_FALSE(said.contains("may have run")) << said;
}

TEST(Template, OfAWithdrawnFunctionIsGone) {
  Family family;
  World world(family.program());
  world.deploy_forking("f", 1h);
  EXPECT_EQ(World::text(world.run(world.call("f", ""))), "fork 1");
  world.fleet->serve("f", nullptr);
  EXPECT_TRUE(world.comes(
      [&] { return world.launcher.state.living == 1 && world.launcher.state.slots == 0; }));
}

}  // namespace
}  // namespace dormouse::fleet
