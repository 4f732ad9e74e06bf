#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <chrono>
#include <cstdio>

#include "sandbox/sandbox.h"

using namespace dormouse;
using namespace dormouse::sandbox;

template <class T>
T run(asio::io_context& io, asio::awaitable<T> work) {
  auto result = asio::co_spawn(io, std::move(work), asio::use_future);
  io.restart();
  while (result.wait_for(std::chrono::seconds(0)) != std::future_status::ready) io.run_one();
  return result.get();
}

TEST(Story, One) {
  asio::io_context io;
  auto clock = async::system_clock();
  auto launcher = linux_launcher(io.get_executor(), clock.get(), {"/tmp/t/state"});
  ASSERT_TRUE(launcher) << launcher.error().message;
  Spec spec{"/tmp/t/busy", {"/bin/sh", "-c", getenv("SCRIPT")}, {"A=b"}, {128 << 20, 500}, {}};
  for (int i = 0; i < 3; ++i) {
    auto t0 = std::chrono::steady_clock::now();
    auto sandbox = run(io, (*launcher)->launch(spec));
    ASSERT_TRUE(sandbox) << sandbox.error().message;
    auto t1 = std::chrono::steady_clock::now();
    auto revealed = run(io, (*sandbox)->reveal("/tmp/t/tree"));
    EXPECT_TRUE(revealed) << revealed.error().message;
    auto t2 = std::chrono::steady_clock::now();
    shutdown((*sandbox)->socket(), SHUT_WR);
    auto ended = run(io, (*sandbox)->wait());
    char text[65536];
    const auto size = read((*sandbox)->output(), text, sizeof(text));
    if (size > 0) printf("%.*s", int(size), text);
    auto used = (*sandbox)->usage();
    printf("exit %d status %d cpu %ld us mem %lu peak %lu; launch %.1f ms reveal %.2f ms\n", int(ended.exit),
           ended.status, long(used.cpu_time.count()), used.memory_bytes, used.memory_bytes_peak,
           std::chrono::duration<double>(t1 - t0).count() * 1e3, std::chrono::duration<double>(t2 - t1).count() * 1e3);
  }
}
