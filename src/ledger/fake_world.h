// A ledger to test: on a real folder, and a disk that may be full.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <set>

#include "async/sim_clock.h"
#include "ledger/ledger.h"
#include "ledger/segment.h"
#include "ledger/tail.h"

namespace dormouse::ledger {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

// A ledger on a real folder, with the time in our hands.
struct World {
  explicit World(Options chosen = {}) : options(std::move(chosen)) {
    char name[] = "/tmp/dormouse-ledger-XXXXXX";
    CHECK(mkdtemp(name));
    dir = name;
    options.dir = dir / "ledger";
    start();
  }
  ~World() {
    crash();
    fs::remove_all(dir);
  }
  void start() {
    io = std::make_unique<asio::io_context>();
    clock = std::make_unique<async::SimClock>(*io);
    store = *store::open(dir / "x.db", migrations());
    auto opened = open(io->get_executor(), clock.get(), store.get(), options);
    problem = opened ? "" : opened.error().message;
    if (opened) ledger = *std::move(opened);
  }
  void crash() {
    ledger.reset();
    store.reset();  // Its thread answers into `io`.
    io.reset();
  }
  void restart() {
    crash();
    start();
  }
  template <class T>
  T run(asio::awaitable<T> work) {
    auto result = asio::co_spawn(*io, std::move(work), asio::use_future);
    while (result.wait_for(0s) != std::future_status::ready) {
      clock->run_until(clock->now() + 100ms);
    }
    return result.get();
  }

  Begun begun(std::uint64_t n, std::string function = "f") const {
    const WallTime at{1'700'000'000'000 + static_cast<std::int64_t>(n)};
    return {{InvocationId::make(at, {n, n}), 1},
            "default",
            std::move(function),
            3,
            std::string(64, 'a'),
            "node",
            at};
  }
  Receipt receipt(std::uint64_t n, std::string function = "f") const {
    Receipt r;
    r.begun = begun(n, std::move(function));
    r.run = 1500us;
    r.billed_ms = 2;
    r.declared_memory_bytes = 128 << 20;
    r.price = {100};
    return r;
  }
  void call(std::uint64_t n, std::string function = "f") {
    ledger->begin(begun(n, function));
    ASSERT_TRUE(ledger->flush());
    ledger->end(receipt(n, function));
    ASSERT_TRUE(ledger->flush());
  }
  Sum total() {
    const auto sums = run(ledger->usage({{}, "", false}));
    EXPECT_TRUE(sums) << sums.error().message;
    return sums && !sums->empty() ? sums->front() : Sum{};
  }

  // Lets the ledger sync and count what it has, in at least 2 s of its time.
  // Time here is simulated, but the ledger's thread and its disk are real: they get a moment, too.
  void settle() {
    for (int i = 0; i < 20; ++i) {
      clock->run_until(clock->now() + 100ms);
      usleep(2000);
      (void)total();
    }
  }
  std::vector<fs::path> segments() const {
    std::set<fs::path> sorted;
    for (const auto& entry : fs::directory_iterator(options.dir)) {
      if (entry.path().extension() == ".ledger") sorted.insert(entry.path());
    }
    return {sorted.begin(), sorted.end()};
  }

  fs::path dir;
  Options options;
  std::unique_ptr<asio::io_context> io;
  std::unique_ptr<async::SimClock> clock;
  std::unique_ptr<store::Store> store;
  std::unique_ptr<Ledger> ledger;
  std::string problem;
};

// What a tail is to be in its segment.
inline std::string batch_of(const Tail::Left& left) {
  Chainer chainer;
  Chain after;
  return frame_batch(left.records, left.place.chain, chainer, &after);
}

// No file of this process grows beyond a size, so that the disk seems full.
struct FullDisk {
  explicit FullDisk(std::uint64_t bytes) {
    ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before);
    const rlimit limit{bytes, before.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FullDisk() { ::setrlimit(RLIMIT_FSIZE, &before); }
  rlimit before{};
};

}  // namespace dormouse::ledger
