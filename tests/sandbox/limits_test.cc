// Taking more than one may: S3, S4, S5, and S4 under gVisor.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "world.h"

namespace dormouse::sandbox {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t mebibyte = 1 << 20;

TEST(ForkBomb, StopsAtItsLimit) {
  World world;
  Limits limits = modest;
  limits.processes_max = 40;
  const Report report = world.to_the_end(World::escape({"bomb", "forks"}, limits));
  EXPECT_EQ(report.output, "children 39: Resource temporarily unavailable\n");
}

TEST(ForkBomb, DiesWholeTenTimesAndSoon) {
  World world;
  Limits limits = modest;
  limits.processes_max = 40;
  limits.memory_bytes_max = 1024 * mebibyte;  // On a busy host the dead pile up in it.
  Duration slowest{};
  for (int turn = 0; turn < 10; ++turn) {
    const auto sandbox = world.launch(World::escape({"bomb", "forks-everywhere"}, limits));
    ASSERT_TRUE(sandbox);
    world.wait_for_output(*sandbox, "here");
    const auto killed = std::chrono::steady_clock::now();
    sandbox->kill();
    EXPECT_EQ(run(world.io, sandbox->wait()).exit, Exit::killed);
    const auto took = std::chrono::steady_clock::now() - killed;
    slowest = std::max(slowest, std::chrono::duration_cast<Duration>(took));
  }
  std::printf("S3: the slowest of ten was gone %lld us after its kill\n",
              static_cast<long long>(slowest.count()));
  EXPECT_LE(slowest, 2s);
}

TEST(ForkBomb, IsEndedIfSomebodyLooks) {
  World world;
  Limits limits = modest;
  limits.processes_max = 40;
  limits.memory_bytes_max = 1024 * mebibyte;
  const auto sandbox = world.launch(World::escape({"bomb", "forks-everywhere"}, limits));
  ASSERT_TRUE(sandbox);
  mind(world, *sandbox);
  EXPECT_EQ(run(world.io, sandbox->wait()).exit, Exit::processes_limit);
}

class MemoryBomb : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(By, MemoryBomb, testing::Values("touch", "mlock", "child", "tmp", "memfd"),
                         [](const auto& kind) { return std::string(kind.param); });

TEST_P(MemoryBomb, KillsItsSandboxOnly) {
  World world;
  const auto sibling = world.launch(World::escape({"stay"}));
  ASSERT_TRUE(sibling);
  Limits limits = modest;
  limits.tmp_bytes_max = 512 * mebibyte;
  const Report report = world.to_the_end(World::escape({"bomb", GetParam(), "300"}, limits));
  EXPECT_EQ(report.ended.exit, Exit::memory_limit) << report.output;
  EXPECT_LE(report.usage.memory_bytes_peak, limits.memory_bytes_max + mebibyte);
  shutdown(sibling->socket(), SHUT_WR);
  EXPECT_EQ(run(world.io, sibling->wait()).exit, Exit::returned);
}

// The kernel bounds some of these by itself; none may hold more than the limit.
TEST(MemoryBomb, InBuffersIsCountedToo) {
  World world;
  for (const char* kind : {"pipes", "sockets"}) {
    Limits limits = modest;
    limits.memory_bytes_max = 24 * mebibyte;
    const Report report = world.to_the_end(World::escape({"bomb", kind}, limits));
    const bool bounded =
        report.ended.exit == Exit::memory_limit || report.ended.exit == Exit::returned;
    EXPECT_TRUE(bounded) << kind;
    EXPECT_LE(report.usage.memory_bytes_peak, limits.memory_bytes_max + mebibyte) << kind;
  }
}

// Pages of a program that a sandbox was the first to read are its own to give back: at its limit it
// drops and reads them again for minutes before the kernel ends it (docs/isolation.md).
void read_on_the_host(const char* program) {
  const std::ifstream file(program, std::ios::binary);
  std::ostringstream() << file.rdbuf();
}

TEST(MemoryBomb, UnderGvisorKillsItsSandboxOnly) {
  read_on_the_host("/usr/bin/runsc");
  World world("runsc");
  Limits limits = modest;
  limits.memory_bytes_max = 128 * mebibyte;
  const Report report = world.to_the_end(World::escape({"bomb", "touch", "500"}, limits));
  EXPECT_EQ(report.ended.exit, Exit::memory_limit) << report.output;
}

// What is not given back would add up: of the least of the quotas, to 8 MiB.
TEST(Filling, StopsAtTheQuotaAndIsGivenBack) {
  World world;
  const auto idle = world.launch(World::escape({"stay"}));
  ASSERT_TRUE(idle);
  world.wait_for_output(*idle, "here");
  for (const Quota& quota : quotas) {
    const std::uint64_t before = world.memory_bytes();
    for (int turn = 0; turn < 8; ++turn) {
      const auto sandbox = world.launch(World::escape({"told", "fill", quota.kind}, filled));
      ASSERT_TRUE(sandbox);
      const std::uint64_t held = sandbox->memory_bytes();
      ASSERT_EQ(send(sandbox->socket(), "x", 1, 0), 1);
      expect_full(world, *sandbox, quota, held);
      shutdown(sandbox->socket(), SHUT_WR);
      EXPECT_EQ(run(world.io, sandbox->wait()).exit, Exit::returned);
    }
    expect_given_back(world, before);
  }
}

TEST(Limits, ChangeWhileItRuns) {
  World world;
  const auto sandbox = world.launch(World::escape({"stay"}));
  ASSERT_TRUE(sandbox);
  world.wait_for_output(*sandbox, "here");
  EXPECT_TRUE(sandbox->set_limits({.memory_bytes_max = 128 << 20, .cpu_millicores_max = 200}));
  EXPECT_TRUE(sandbox->set_limits({.memory_bytes_max = 32 << 20, .cpu_millicores_max = 2000}));
  EXPECT_GT(sandbox->usage().memory_bytes_peak, 0U);
}

}  // namespace
}  // namespace dormouse::sandbox
