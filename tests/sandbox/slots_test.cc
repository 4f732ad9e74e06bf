// Forks of a program in slots of its sandbox: the walls around them (S1, S2, S4, S5, S10, S15
// between siblings), how they end, and that nothing is left of them.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <random>

#include "sandbox/seccomp.h"
#include "sandbox/test_kernel.h"
#include "wire/messages.h"
#include "wire/socket.h"
#include "world.h"

namespace dormouse::sandbox {
namespace {

constexpr std::uint64_t mebibyte = 1 << 20;

// A sandbox whose program is a template, as a daemon uses it.
class Family {
 public:
  explicit Family(World& world, bool loopback = false) : world_(world) {
    Spec spec = World::escape({"family"});
    spec.forks = true;
    spec.loopback = loopback;
    parent = world_.launch(std::move(spec));
    EXPECT_EQ(frame_from(parent->socket()), wire::Type::ready);
  }

  // One that has been told to go.
  std::unique_ptr<Slot> fork(Limits limits = modest) {
    auto slot = run(world_.io, parent->make_slot(limits));
    EXPECT_TRUE(slot) << slot.error().message;
    if (!slot) return nullptr;
    const Slot::Inner inner = (*slot)->take_inner();
    std::string frame;
    wire::append_frame(frame, wire::Type::fork, 0, 0,
                       wire::encode(wire::Fork{(*slot)->root(), (*slot)->uid()}), 2);
    EXPECT_TRUE(
        wire::send_all(parent->socket(), frame, {inner.socket.number(), inner.output.number()}));
    pid_t who = 0;
    EXPECT_EQ(frame_from((*slot)->socket(), &who), wire::Type::forked);
    last_pid = who;
    const auto admitted = run(world_.io, (*slot)->admit(who));
    EXPECT_TRUE(admitted) << admitted.error().message;
    tell(**slot, wire::Type::go, "");
    EXPECT_EQ(frame_from((*slot)->socket()), wire::Type::ready);
    return std::move(*slot);
  }

  // It does as an escaper's command line says, and ends.
  static void order(Slot& slot, const std::string& words) {
    wire::Item item;
    item.handle = 1;
    item.inline_body = words;
    item.body_size = words.size();
    tell(slot, wire::Type::invoke, wire::encode(std::span(&item, 1)));
  }

  Report to_the_end(const std::string& words, Limits limits = modest) {
    const auto slot = fork(limits);
    Report report;
    if (!slot) return report;
    order(*slot, words);
    report.ended = run(world_.io, slot->wait());
    report.usage = slot->usage();
    char part[65536];
    for (ssize_t size; (size = read(slot->output(), part, sizeof(part))) > 0;) {
      report.output.append(part, static_cast<std::size_t>(size));
    }
    return report;
  }

  std::unique_ptr<Sandbox> parent;
  pid_t last_pid = 0;

 private:
  static void tell(Slot& slot, wire::Type type, std::string_view payload) {
    std::string frame;
    wire::append_frame(frame, type, 0, 0, payload);
    EXPECT_TRUE(wire::send_all(slot.socket(), frame, {}));
  }

  static wire::Type frame_from(int socket, pid_t* who = nullptr) {
    wire::FrameReceiver receiver(socket);
    for (;;) {
      pollfd ready{socket, POLLIN, 0};
      if (poll(&ready, 1, 20'000) <= 0) return {};
      const auto frame = receiver.receive();
      if (!frame) return {};
      if (!*frame) continue;
      if (who != nullptr) *who = receiver.sender();
      return (*frame)->header.type;
    }
  }

  World& world_;
};

TEST(Slots, HaveEveryWallOfASandbox) {
  World world;
  Family family(world);
  const Report report = family.to_the_end("table");
  EXPECT_EQ(report.ended.exit, kernel_tells_of_others() ? Exit::returned : Exit::untold)
      << report.output;
  EXPECT_GE(report.lines_with("denied "), 150);
  EXPECT_EQ(report.lines_with("ALLOWED "), 0) << report.output;
}

// As a function's instances run that may speak IP: S2 and S1, with all that their filter has more.
class SlotsWithLoopback : public testing::Test {
 protected:
  Report in_one(const std::string& words) {
    const auto slot = family.fork();
    if (!slot) return {};
    Family::order(*slot, words);
    return world.to_the_end(*slot);
  }

  World world;
  Family family{world, true};
};

TEST_F(SlotsWithLoopback, AnswerOnlyTheReviewedCalls) {
  const Report report = in_one("calls " + numbers_of(allowed_calls()));
  EXPECT_EQ(report.ended.exit, kernel_tells_of_others() ? Exit::returned : Exit::untold);
  std::printf("S2 in a slot: %d others denied\n", report.lines_with("denied "));
  EXPECT_GE(report.lines_with("denied call "), 200);
  EXPECT_GE(report.lines_with("denied x32 "), 512);
  EXPECT_GE(report.lines_with("denied int80 "), 470);
  // These and no more, each of which wants a capability that a fork has not; sockets are in the
  // list of everybody, for other families.
  int answered = report.lines_with("ALLOWED call 335:") + report.lines_with("ALLOWED call 336:");
  for (const AllowedCall& call : calls_of_templates()) {
    const std::string line = "ALLOWED call " + numbers_of(std::span(&call, 1)) + ":";
    EXPECT_EQ(report.lines_with(line), 1) << call.name << "\n" << report.output;
    ++answered;
  }
  EXPECT_EQ(report.lines_with("ALLOWED "), answered) << report.output;
  for (const AllowedCall& call : calls_of_loopback()) EXPECT_STREQ(call.name, "socket");
  // As in Calls.OnlyTheReviewedOnesAreAnswered: whoever changes these has read the lists.
  EXPECT_EQ(calls_of_templates().size(), 2U);
  EXPECT_EQ(calls_of_loopback().size(), 8U);
}

TEST_F(SlotsWithLoopback, HaveTwoFamiliesOfSocketsMore) {
  const Report report = in_one("table");
  EXPECT_GE(report.lines_with("denied "), 150);
  EXPECT_EQ(report.lines_with("ALLOWED socket 2 stream"), 1);
  EXPECT_EQ(report.lines_with("ALLOWED socket 10 stream"), 1);
  EXPECT_EQ(report.lines_with("ALLOWED "), 2) << report.output;
}

TEST(Slots, GiveExactlyTheDescriptorsThatAreMeant) {
  World world;
  Family family(world);
  const int forks = so_many(200, 10'000);
  for (int i = 0; i < forks; ++i) {
    ASSERT_EQ(family.to_the_end("descriptors").output, "fd 0 c\nfd 1 p\nfd 2 p\nfd 3 s\n");
  }
}

TEST(Slots, TellHowTheirForkEnded) {
  World world;
  Family family(world);
  const Report left = family.to_the_end("exit 7");
  const Report crashed = family.to_the_end("crash");
  if (!kernel_tells_of_others()) {
    EXPECT_EQ(left.ended.exit, Exit::untold);
    EXPECT_EQ(crashed.ended.exit, Exit::untold);
    return;
  }
  EXPECT_EQ(left.ended.exit, Exit::returned);
  EXPECT_EQ(left.ended.status, 7);
  EXPECT_EQ(crashed.ended.exit, Exit::crashed);
  EXPECT_EQ(crashed.ended.status, 128 + SIGSEGV);
}

class SlotMemory : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(By, SlotMemory, testing::Values("touch", "child", "tmp"),
                         [](const auto& kind) { return std::string(kind.param); });

TEST_P(SlotMemory, EndsTheForkAndNobodyElse) {
  World world;
  Family family(world);
  const auto sibling = family.fork();
  ASSERT_TRUE(sibling);
  Limits limits = modest;
  limits.memory_bytes_max = 32 * mebibyte;
  limits.tmp_bytes_max = 512 * mebibyte;
  const Report report = family.to_the_end(std::string("bomb ") + GetParam() + " 300", limits);
  EXPECT_EQ(report.ended.exit, Exit::memory_limit) << report.output;
  EXPECT_LE(report.usage.memory_bytes_peak, limits.memory_bytes_max + mebibyte);
  Family::order(*sibling, "exit 0");
  EXPECT_NE(run(world.io, sibling->wait()).exit, Exit::memory_limit);
  EXPECT_TRUE(family.fork());  // The template lives.
}

TEST(Slots, BoundTheirProcesses) {
  World world;
  Family family(world);
  Limits limits = modest;
  limits.processes_max = 40;
  EXPECT_EQ(family.to_the_end("bomb forks 0", limits).output,
            "children 39: Resource temporarily unavailable\n");
}

TEST(Slots, EndTheirForkBombAndNobodyElse) {
  World world;
  Family family(world);
  const auto sibling = family.fork();
  Limits limits = modest;
  limits.processes_max = 40;
  limits.memory_bytes_max = 1024 * mebibyte;  // As in limits_test: 62 MB were seen.
  const auto slot = family.fork(limits);
  ASSERT_TRUE(sibling && slot);
  Family::order(*slot, "bomb forks-everywhere 0");
  mind(world, *slot, {sibling.get(), family.parent.get()});
  EXPECT_EQ(run(world.io, slot->wait()).exit, Exit::processes_limit);
  Family::order(*sibling, "exit 0");
  EXPECT_EQ(run(world.io, sibling->wait()).status, 0);
  EXPECT_TRUE(family.fork());  // The template lives.
}

// S5: its /tmp and its /dev/shm are its own, and go with it while its siblings stay.
TEST(Slots, AreFilledToTheirQuotaAndGiveItBack) {
  World world;
  Family family(world);
  const auto sibling = family.fork();
  ASSERT_TRUE(sibling);
  for (const Quota& quota : quotas) {
    const std::uint64_t before = world.memory_bytes();
    for (int turn = 0; turn < 8; ++turn) {
      const auto slot = family.fork(filled);
      ASSERT_TRUE(slot);
      const std::uint64_t held = slot->memory_bytes();
      Family::order(*slot, std::string("fill ") + quota.kind);
      expect_full(world, *slot, quota, held);
      shutdown(slot->socket(), SHUT_WR);
      (void)run(world.io, slot->wait());
    }
    expect_given_back(world, before);
  }
}

TEST(Slots, AdmitNoProcessOfAnyoneElse) {
  World world;
  Family family(world);
  const auto slot = run(world.io, family.parent->make_slot(modest));
  ASSERT_TRUE(slot);
  for (const pid_t pid : {getpid(), pid_t{1}, pid_t{0}, pid_t{-1}}) {
    const auto admitted = run(world.io, (*slot)->admit(pid));
    ASSERT_FALSE(admitted) << pid;
    EXPECT_EQ(admitted.error().code, Code::invalid_argument) << admitted.error().message;
  }
}

TEST(Slots, AreOnlyForThoseWhoFork) {
  World world;
  const auto plain = world.launch(World::escape({"stay"}));
  ASSERT_TRUE(plain);
  const auto slot = run(world.io, plain->make_slot(modest));
  ASSERT_FALSE(slot);
  EXPECT_EQ(slot.error().code, Code::unsupported);
}

TEST(Slots, LeaveNothing) {
  World world;
  Family family(world);
  std::mt19937 random(7);
  const int lives = so_many(500, 10'000);
  for (int i = 0; i < lives; ++i) {
    auto slot = family.fork();
    ASSERT_TRUE(slot);
    if (random() % 2 == 0) Family::order(*slot, "linger");
    if (random() % 2 == 0) kill(family.last_pid, SIGKILL);
  }
  family.parent.reset();  // The slots are gone; the World looks what is left.
}

}  // namespace
}  // namespace dormouse::sandbox
