// What a program inside sees and reaches: S1, S2, S10, S13, S15, S19, and the same under gVisor.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "sandbox/seccomp.h"
#include "wire/socket.h"
#include "world.h"

namespace dormouse::sandbox {
namespace {

using wire::Descriptor;

class Walls : public testing::TestWithParam<const char*> {
 protected:
  World world{GetParam()};
  bool gvisor() const { return std::string(GetParam()) == "runsc"; }
};

INSTANTIATE_TEST_SUITE_P(Under, Walls, testing::Values("runc", "runsc"),
                         [](const auto& runtime) { return std::string(runtime.param); });

TEST_P(Walls, DenyEverythingInTheTable) {
  const Report report = world.to_the_end(World::escape({"table"}));
  EXPECT_EQ(report.ended.exit, Exit::returned);
  std::printf("S1 under %s: %d attempts denied, %d allowed\n", GetParam(),
              report.lines_with("denied "), report.lines_with("ALLOWED "));
  EXPECT_GE(report.lines_with("denied "), 150);
  // gVisor answers these itself, and nothing of the host's comes of it.
  int emulated = 0;
  for (const char* line :
       {"device /dev/fuse:", "device /dev/net/tun:", "identity nice -20:",
        "identity oom_score_adj -1000:", "kernel SO_LINGER:", "kernel SO_LINGER in 64 bits:"}) {
    emulated += gvisor() ? report.lines_with(std::string("ALLOWED ") + line) : 0;
  }
  EXPECT_EQ(report.lines_with("ALLOWED "), emulated) << report.output;
}

TEST_P(Walls, GiveExactlyTheDescriptorsThatAreMeant) {
  // Open and inheritable, as a careless library would leave them.
  std::vector<Descriptor> careless;
  for (int i = 0; i < 32; ++i) careless.emplace_back(open("/etc/passwd", O_RDONLY));
  const int starts = gvisor() ? so_many(50, 1'000) : so_many(200, 10'000);
  for (int i = 0; i < starts; ++i) {
    const Report report = world.to_the_end(World::escape({"descriptors"}));
    const std::string wanted =
        gvisor() ? "fd 0 s\nfd 1 p\nfd 2 p\n" : "fd 0 c\nfd 1 p\nfd 2 p\nfd 3 s\n";
    ASSERT_EQ(report.output, wanted) << "start " << i;
  }
  std::printf("S10 under %s: %d starts\n", GetParam(), starts);
}

// What of the host's a program must not reach: each listens at one port, or an abstract name.
struct Listeners {
  Listeners() : stream(made(SOCK_STREAM)), datagram(made(SOCK_DGRAM)), abstract(named()) {}

  Descriptor made(int type) {
    Descriptor listener(socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    at.sin_port = port;
    socklen_t size = sizeof(at);
    EXPECT_EQ(bind(listener.number(), reinterpret_cast<sockaddr*>(&at), size), 0);
    if (type == SOCK_STREAM) EXPECT_EQ(listen(listener.number(), 8), 0);
    getsockname(listener.number(), reinterpret_cast<sockaddr*>(&at), &size);
    port = at.sin_port;
    return listener;
  }
  static Descriptor named() {
    Descriptor listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const sockaddr_un name{AF_UNIX, "\0dormouse-s13"};
    EXPECT_EQ(bind(listener.number(), reinterpret_cast<const sockaddr*>(&name),
                   offsetof(sockaddr_un, sun_path) + 13),
              0);
    EXPECT_EQ(listen(listener.number(), 8), 0);
    return listener;
  }

  std::vector<std::string> words() const { return {"network", std::to_string(ntohs(port))}; }
  void expect_nobody() const {
    char byte;
    EXPECT_LT(accept(stream.number(), nullptr, nullptr), 0);
    EXPECT_LT(recv(datagram.number(), &byte, 1, 0), 0);
    EXPECT_LT(accept(abstract.number(), nullptr, nullptr), 0);
  }

  in_port_t port = 0;
  Descriptor stream, datagram, abstract;
};

TEST_P(Walls, LetNothingReachAnyNetwork) {
  const Listeners host;
  const Report report = world.to_the_end(World::escape(host.words()));
  std::printf("S13 under %s: %d attempts denied\n", GetParam(), report.lines_with("denied "));
  EXPECT_GE(report.lines_with("denied "), 1000);
  EXPECT_EQ(report.lines_with("ALLOWED "), 0) << report.output;
  host.expect_nobody();
}

Spec with_loopback(std::vector<std::string> words) {
  Spec spec = World::escape(std::move(words));
  spec.loopback = true;
  return spec;
}

// An IP socket is no way out: its namespace has nothing but its own loopback.
TEST_P(Walls, LetNothingReachAnyNetworkWithIpSockets) {
  const Listeners host;
  const Report report = world.to_the_end(with_loopback(host.words()));
  std::printf("S13 with IP sockets under %s: %d attempts denied\n", GetParam(),
              report.lines_with("denied "));
  EXPECT_GE(report.lines_with("denied "), 900);
  EXPECT_EQ(report.lines_with("timed out"), 0) << report.output;
  // A datagram to its own loopback always leaves, and there is nobody to get it.
  int to_itself = 0;
  for (const char* own : {"127.0.0.1:", "0.0.0.0:", "::1:"}) {
    for (const char* port : {"80", "443", "53", "22", "8080", "4222", "6443", "2375", "9090"}) {
      to_itself += report.lines_with("ALLOWED dial " + (own + std::string(port)) + " type 2:");
    }
    to_itself += report.lines_with("ALLOWED dial " + (own + host.words().at(1)) + " type 2:");
  }
  EXPECT_EQ(report.lines_with("ALLOWED "), to_itself) << report.output;
  host.expect_nobody();
}

TEST_P(Walls, GiveOneWithLoopbackTwoFamiliesOfSocketsMore) {
  const Report report = world.to_the_end(with_loopback({"table"}));
  EXPECT_EQ(report.lines_with("ALLOWED socket 2 stream"), 1);
  EXPECT_EQ(report.lines_with("ALLOWED socket 10 stream"), 1);
  EXPECT_EQ(report.lines_with("ALLOWED socket "), 2) << report.output;
}

TEST_P(Walls, LetOneWithLoopbackSpeakWithItself) {
  EXPECT_EQ(world.to_the_end(with_loopback({"loopback"})).ended.status, 0);
  EXPECT_NE(world.to_the_end(World::escape({"loopback"})).ended.status, 0);
}

// A node for the test alone, of FUSE: whoever opens it can do nothing with it, and runc allows it
// to nobody unasked, as it does TUN.
class TestDevice {
 public:
  TestDevice() {
    EXPECT_EQ(mknod(path.c_str(), S_IFCHR | 0666, makedev(10, 229)), 0) << strerror(errno);
    EXPECT_EQ(chmod(path.c_str(), 0666), 0);
  }
  ~TestDevice() { unlink(path.c_str()); }
  TestDevice(const TestDevice&) = delete;
  TestDevice& operator=(const TestDevice&) = delete;

  const std::string path = "/dev/dormouse-test-" + std::to_string(getpid());
};

TEST(Devices, AreUsedOnlyByWhoWasGivenThem) {
  World world;
  const TestDevice device;
  Spec spec = World::escape({"device", device.path});
  const Report without = world.to_the_end(spec);
  EXPECT_EQ(without.lines_with("denied device " + device.path), 1) << without.output;
  EXPECT_EQ(without.lines_with(": Operation not permitted"), 12) << without.output;
  spec.devices = {device.path};
  const Report with = world.to_the_end(spec);
  EXPECT_EQ(with.lines_with("ALLOWED device " + device.path), 1) << with.output;
  for (const char* nvidia : {"4601:", "c020462a:", "1:", "25:", "30000001:", "30000002:"}) {
    EXPECT_EQ(with.lines_with(std::string("denied ioctl ") + nvidia), 1) << nvidia;
    EXPECT_EQ(with.lines_with(std::string("denied ioctl ") + nvidia + " Operation not"), 0);
  }
  EXPECT_EQ(with.lines_with(": Operation not permitted"), 6) << with.output;
}

TEST(Devices, OpenNothingElse) {
  World world;
  const TestDevice device;
  Spec spec = World::escape({"table"});
  spec.devices = {device.path};
  const Report report = world.to_the_end(spec);
  EXPECT_GE(report.lines_with("denied "), 150);
  EXPECT_EQ(report.lines_with("ALLOWED "), 0) << report.output;
}

TEST(Devices, ThatAreNoneAreRefused) {
  World world;
  for (const char* path : {"/dev/nothing-here", "/dev/shm", "/etc/passwd", "/dev/../dev/null"}) {
    Spec spec = World::escape({"table"});
    spec.devices = {path};
    EXPECT_EQ(world.refusal(spec),
              std::string("device ") + path + " is no character device directly in /dev");
  }
}

TEST(Devices, AreNotForGVisor) {
  World world("runsc");
  const TestDevice device;
  Spec spec = World::escape({"device", device.path});
  spec.devices = {device.path};
  EXPECT_EQ(world.refusal(spec), "under runsc no sandbox can have a device");
}

TEST_P(Walls, LetOneCallThrough) {
  const auto sandbox = world.launch(World::escape({"echo"}));
  ASSERT_TRUE(sandbox);
  EXPECT_TRUE(run(world.io, sandbox->reveal(ESCAPE_ROOT)));
  ASSERT_EQ(send(sandbox->socket(), "call", 4, 0), 4);
  EXPECT_EQ(run(world.io, sandbox->wait()).status, 0);
  char answer[8];
  EXPECT_EQ(recv(sandbox->socket(), answer, sizeof(answer), 0), 4);
}

// Large bodies cross as memory that the daemon made.
TEST_P(Walls, LetSharedMemoryThrough) {
  const Descriptor memory(memfd_create("body", MFD_CLOEXEC));
  ASSERT_EQ(ftruncate(memory.number(), 4096), 0);
  const auto sandbox = world.launch(World::escape({"share"}));
  ASSERT_TRUE(sandbox);
  ASSERT_TRUE(wire::send_some(sandbox->socket(), "x", {memory.number()}));
  EXPECT_EQ(run(world.io, sandbox->wait()).status, 0);
  char answer[7]{};
  EXPECT_EQ(pread(memory.number(), answer, sizeof(answer), 0), 7);
  EXPECT_STREQ(answer, "answer");
}

TEST(Calls, OnlyTheReviewedOnesAreAnswered) {
  World world;
  const Report report = world.to_the_end(World::escape({"calls", numbers_of(allowed_calls())}));
  EXPECT_EQ(report.ended.exit, Exit::returned);
  std::printf("S2: %zu lines in the list of allowed calls, %d others denied\n",
              allowed_calls().size(), report.lines_with("denied "));
  EXPECT_GE(report.lines_with("denied call "), 200);
  EXPECT_GE(report.lines_with("denied x32 "), 512);
  // uretprobe and uprobe pass every filter by the kernel's own rule; called from anywhere but its
  // trampolines they do nothing, or end the process.
  const int exempt =
      report.lines_with("ALLOWED call 335:") + report.lines_with("ALLOWED call 336:");
  EXPECT_EQ(report.lines_with("ALLOWED "), exempt) << report.output;
  // It may not grow without review: whoever changes this number has read the list.
  EXPECT_EQ(allowed_calls().size(), 225U);
}

// The attempts have teeth: without a wall, many of them are answered.
TEST(Calls, AreAnsweredWithoutAFilter) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const std::string numbers = numbers_of(allowed_calls());
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], 1);
    if (setgid(65534) != 0 || setuid(65534) != 0) _exit(1);
    execl(ESCAPE_ROOT "/bin/worker", "worker", "calls", numbers.c_str(), nullptr);
    _exit(1);
  }
  close(ends[1]);
  Report report;
  char part[4096];
  for (ssize_t size; (size = read(ends[0], part, sizeof(part))) > 0;) {
    report.output.append(part, static_cast<std::size_t>(size));
  }
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_GE(report.lines_with("ALLOWED call "), 30) << status;
}

TEST(Neighbours, DoNotNoticeEachOther) {
  World world;
  const auto victim = world.launch(World::escape({"stay"}));
  ASSERT_TRUE(victim);
  world.wait_for_output(*victim, "here");
  const Report report = world.to_the_end(World::escape({"neighbour", "mine"}));
  EXPECT_EQ(report.lines_with("denied "), 5) << report.output;
  EXPECT_EQ(report.lines_with("ALLOWED "), 0) << report.output;
  EXPECT_NE(report.first_line_with("uids").find("365536"), std::string::npos) << report.output;
  shutdown(victim->socket(), SHUT_WR);
  EXPECT_EQ(run(world.io, victim->wait()).exit, Exit::returned);
}

}  // namespace
}  // namespace dormouse::sandbox

int main(int count, char** words) {
  if (count == 4 && std::string(words[1]) == "--own-sandboxes") {
    return dormouse::sandbox::own_sandboxes(words[2], std::atoi(words[3]));
  }
  if (count > 2 && std::string(words[1]) == "--root") {
    return dormouse::sandbox::write_down_what_is_given(words[2]);
  }
  testing::InitGoogleTest(&count, words);
  return RUN_ALL_TESTS();
}
