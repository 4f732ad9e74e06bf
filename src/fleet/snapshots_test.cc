// Templates that are saved as they are tried, and woken: what is told to whom, and what happens if
// nothing comes of it. e2e/snapshots.test.mjs has real ones.
#include <gtest/gtest.h>

#include "fleet/fake_world.h"
#include "fleet/test_workers.h"

namespace dormouse::fleet {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view loaded = "load: template=yes; go:",
                           woken = "load: snapshot=yes template=yes; go:";

Options with_snapshots(Options options = {}) {
  options.runtimes["speaker"] = {
      .root = "/", .argv = {"x"}, .blanks = 1, .forks = true, .snapshots = true};
  return options;
}

bool is_told_to_wake(const wire::Frame& frame) {
  return frame.header.type == wire::Type::load && told_by(frame).contains("snapshot=yes");
}

TEST(Snapshots, AreWokenByATemplateAndNotByTheOneThatTakesItsPlace) {
  World world(confide, with_snapshots({.renewal = {.forks = 1}}));
  world.deploy_forking("f", 1h, {}, "yes", 0ms, true);
  EXPECT_EQ(World::text(world.run(world.call("f", ""))), woken);
  EXPECT_TRUE(world.comes([&] { return World::text(world.run(world.call("f", ""))) == loaded; }));
}

TEST(Snapshots, ThatCannotBeWokenCostALoadAndNoCall) {
  const auto ends = [](int, const wire::Frame& frame) { return is_told_to_wake(frame); };
  World world([&](int socket) { confide_until(socket, ends); }, with_snapshots());
  world.deploy_forking("f", 1h, {}, "yes", 0ms, true);
  EXPECT_EQ(World::text(world.run(world.call("f", ""))), loaded);
  EXPECT_EQ(world.launcher.state.revealed.size(), 2u);
}

// A deploy of one that saves itself as `ends` has it.
catalog::Draft tried(const Ends& ends) {
  World world([&](int socket) { confide_until(socket, ends); }, with_snapshots());
  auto draft = world.run(world.try_out());
  EXPECT_TRUE(draft) << draft.error().message;
  return draft ? *draft : catalog::Draft{};
}

TEST(Snapshots, ThatAreNotToBeHadAreNoneAndSayWhy) {
  const auto refuses = [](int socket, const wire::Frame& frame) {
    if (frame.header.type != wire::Type::prepare) return false;
    std::string out;
    wire::append_frame(out, wire::Type::prepared, 0, 0,
                       wire::encode(wire::Prepared{.notes = {{"snapshot", "no: it knits"}}}));
    (void)wire::send_all(socket, out, {});
    return false;
  };
  const auto draft = tried(refuses);
  EXPECT_EQ(draft.notes.at("snapshot"), "no: it knits");
  EXPECT_EQ(draft.notes.at("template"), "yes");
  EXPECT_FALSE(draft.load_options.contains("snapshot"));
}

TEST(Snapshots, WhoseTemplateEndsAsItSavesItselfAreNone) {
  const auto draft =
      tried([](int, const wire::Frame& frame) { return frame.header.type == wire::Type::prepare; });
  EXPECT_TRUE(draft.notes.at("snapshot").starts_with("no: ")) << draft.notes.at("snapshot");
  EXPECT_EQ(draft.notes.at("template"), "yes");
  EXPECT_EQ(draft.load_options.at("template"), "yes");
}

// It says that it has written a file, which is not there.
TEST(Snapshots, ThatWereNotWrittenAreNone) {
  const auto lies = [](int socket, const wire::Frame& frame) {
    if (frame.header.type != wire::Type::prepare) return false;
    std::string out;
    wire::append_frame(
        out, wire::Type::prepared, 0, 0,
        wire::encode(wire::Prepared{.files = {"snapshot"}, .options = {{"snapshot", "yes"}}}));
    (void)wire::send_all(socket, out, {});
    return false;
  };
  const auto draft = tried(lies);
  EXPECT_TRUE(draft.notes.at("snapshot").starts_with("no: ")) << draft.notes.at("snapshot");
  EXPECT_FALSE(draft.load_options.contains("snapshot"));
  EXPECT_TRUE(draft.prepared.empty());
}

}  // namespace
}  // namespace dormouse::fleet
