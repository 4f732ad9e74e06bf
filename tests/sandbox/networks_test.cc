// What a sandbox that was given a network reaches: S13, and that nothing is left of it (I5).
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "wire/socket.h"
#include "world.h"

namespace dormouse::sandbox {
namespace {

using wire::Descriptor;

// A network namespace for this thread and those that it starts, which plays the host.
class HostNetwork {
 public:
  HostNetwork() : home_(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)) {
    EXPECT_EQ(unshare(CLONE_NEWNET), 0);
    EXPECT_EQ(
        std::system(
            "ip link set lo up && ip link add eth0 type veth peer name w0 && "
            "ip addr add 203.0.113.1/24 dev eth0 && ip link set eth0 up && ip link set w0 up && "
            "ip addr add 10.0.0.1/24 dev eth0 && "
            "ip route add unreachable default && "
            "echo 0 >/proc/sys/net/ipv4/icmp_ratelimit && "
            "echo 1 >/proc/sys/net/ipv4/ip_forward"),
        0);
  }
  ~HostNetwork() { EXPECT_EQ(setns(home_.number(), CLONE_NEWNET), 0); }

 private:
  const Descriptor home_;
};

// At every address of the host, of TCP and UDP.
struct Listeners {
  Listeners() : stream(made(SOCK_STREAM)), datagram(made(SOCK_DGRAM)) {}
  Descriptor made(int type) {
    Descriptor listener(socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = port;
    socklen_t size = sizeof(at);
    EXPECT_EQ(bind(listener.number(), reinterpret_cast<sockaddr*>(&at), size), 0);
    if (type == SOCK_STREAM) EXPECT_EQ(listen(listener.number(), 8), 0);
    getsockname(listener.number(), reinterpret_cast<sockaddr*>(&at), &size);
    port = at.sin_port;
    return listener;
  }
  void expect_nobody() const {
    char byte;
    EXPECT_LT(accept(stream.number(), nullptr, nullptr), 0);
    EXPECT_LT(recv(datagram.number(), &byte, 1, 0), 0);
  }
  in_port_t port = 0;
  Descriptor stream, datagram;
};

Spec told(const std::string& verb, const std::string& first) {
  Spec spec = World::escape({"told", verb, first});
  spec.loopback = true;
  return spec;
}

Report go_on(World& world, Sandbox& sandbox) {
  EXPECT_EQ(send(sandbox.socket(), "x", 1, MSG_NOSIGNAL), 1);
  return world.to_the_end(sandbox);
}

TEST(Networks, OfTheWorldReachNothingOfTheHosts) {
  const HostNetwork host;
  const Listeners listeners;
  World world;
  const auto sandbox = world.launch(told("network", std::to_string(ntohs(listeners.port))));
  ASSERT_TRUE(sandbox);
  const auto attached = run(world.io, sandbox->attach({.world = true}));
  ASSERT_TRUE(attached) << attached.error().message;
  const Report report = go_on(world, *sandbox);
  std::printf("S13 with a way to the world: %d attempts denied\n", report.lines_with("denied "));
  EXPECT_GE(report.lines_with("denied "), 850);
  // That a datagram leaves does not say that it arrives; and its own loopback is its own.
  const int datagrams = report.lines_with("type 2: ");
  EXPECT_LE(report.lines_with("ALLOWED dial "), datagrams) << report.output;
  EXPECT_EQ(report.lines_with("ALLOWED dial ") - report.lines_with("type 2: 0"), 0)
      << report.output;
  EXPECT_EQ(report.lines_with("ALLOWED interface "), report.lines_with("ALLOWED interface eth0"));
  EXPECT_EQ(report.lines_with("ALLOWED unix "), 0);
  EXPECT_EQ(report.lines_with("ALLOWED given "), 0);
  listeners.expect_nobody();
}

TEST(Networks, AreGivenOnceAndOnlyWhereIpSocketsAre) {
  const HostNetwork host;
  World world;
  const auto without = world.launch(World::escape({"stay"}));
  ASSERT_TRUE(without);
  const auto refused = run(world.io, without->attach({.world = true}));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::unsupported);
  const auto sandbox = world.launch(told("exit", "0"));
  ASSERT_TRUE(sandbox);
  EXPECT_TRUE(run(world.io, sandbox->attach({.allowed = {{{0xCB007107}, 80}}})));
  EXPECT_EQ(run(world.io, sandbox->attach({.world = true})).error().code, Code::conflict);
}

TEST(Networks, UnderRunscAreRefused) {
  const HostNetwork host;
  World world("runsc");
  const auto sandbox = world.launch(told("exit", "0"));
  ASSERT_TRUE(sandbox);
  EXPECT_EQ(run(world.io, sandbox->attach({.world = true})).error().code, Code::unsupported);
}

TEST(Networks, AreMadeAgainAndAgain) {
  const HostNetwork host;
  World world;
  Duration first{};
  std::vector<Duration> others;
  constexpr int turns = 20;
  for (int turn = 0; turn < turns; ++turn) {
    const auto sandbox = world.launch(told("exit", "0"));
    ASSERT_TRUE(sandbox);
    const auto began = std::chrono::steady_clock::now();
    const auto attached = run(world.io, sandbox->attach({.world = true}));
    ASSERT_TRUE(attached) << attached.error().message;
    const auto took =
        std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now() - began);
    if (turn == 0) first = took;
    if (turn > 0) others.push_back(took);
    EXPECT_EQ(go_on(world, *sandbox).ended.status, 0);
  }
  std::ranges::sort(others);
  std::printf("a network takes %lld us (median; the longest %lld), the first of a router %lld\n",
              static_cast<long long>(others[others.size() / 2].count()),
              static_cast<long long>(others.back().count()), static_cast<long long>(first.count()));
}

TEST(Networks, ThatTheHostCannotMakeLeaveNothing) {
  const HostNetwork host;
  EXPECT_EQ(std::system("echo 0 >/proc/sys/net/ipv4/ip_forward"), 0);
  World world;
  const auto sandbox = world.launch(told("exit", "0"));
  ASSERT_TRUE(sandbox);
  const auto refused = run(world.io, sandbox->attach({.world = true}));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::unavailable);
  EXPECT_NE(refused.error().message.find("ip_forward"), std::string::npos);
}

}  // namespace
}  // namespace dormouse::sandbox
