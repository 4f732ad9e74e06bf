#include "ledger/ledger.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>

#include "async/sim_clock.h"

namespace dormouse::ledger {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

// A ledger on a real folder, with the time in our hands.
struct World {
  World() {
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
    io.reset();
    store.reset();
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
    return sums && !sums->empty() ? sums->front() : Sum{};
  }

  fs::path dir;
  Options options;
  std::unique_ptr<asio::io_context> io;
  std::unique_ptr<async::SimClock> clock;
  std::unique_ptr<store::Store> store;
  std::unique_ptr<Ledger> ledger;
  std::string problem;
};

TEST(Ledger, FindsAReceiptAndSumsIt) {
  World world;
  world.call(1);
  world.call(2, "g");
  const auto found = world.run(world.ledger->find(world.begun(1).key));
  ASSERT_TRUE(found && *found);
  EXPECT_EQ((*found)->begun.function, "f");
  EXPECT_EQ((*found)->run, 1500us);
  EXPECT_EQ((*found)->price.value, 100);
  const auto missing = world.run(world.ledger->find(world.begun(3).key));
  ASSERT_TRUE(missing);
  EXPECT_FALSE(*missing);
  EXPECT_EQ(world.total(), (Sum{"", 2, 0, 4, 512, {200}}));
  const auto by_function = world.run(world.ledger->usage({}));
  ASSERT_TRUE(by_function);
  ASSERT_EQ(by_function->size(), 2u);
  EXPECT_EQ((*by_function)[1], (Sum{"g", 1, 0, 2, 256, {100}}));
}

TEST(Ledger, InterruptsWhatWasRunningAtACrash) {
  World world;
  world.call(1);
  world.ledger->begin(world.begun(2));
  ASSERT_TRUE(world.ledger->flush());
  for (int restarts = 0; restarts < 3; ++restarts) {
    world.restart();
    ASSERT_EQ(world.problem, "");
    const auto found = world.run(world.ledger->find(world.begun(2).key));
    ASSERT_TRUE(found && *found);
    EXPECT_TRUE((*found)->interrupted);
    EXPECT_EQ((*found)->failure, Code::unavailable);
    EXPECT_EQ((*found)->price.value, 0);
    EXPECT_EQ(world.total(), (Sum{"", 2, 1, 2, 256, {100}}));
  }
}

TEST(Ledger, CutsATornEndOff) {
  World world;
  world.call(1);
  world.crash();
  const auto segment = fs::directory_iterator(world.options.dir)->path();
  fs::resize_file(segment, fs::file_size(segment) - 1);
  world.start();
  ASSERT_EQ(world.problem, "");
  EXPECT_EQ(world.total(), (Sum{"", 1, 1, 0, 0, {0}}));  // Its end was torn: interrupted.
}

TEST(Ledger, GoesOnInTheNextSegmentWithWhatIsRunning) {
  World world;
  world.crash();
  world.options.segment_bytes_max = 2000;
  world.start();
  world.ledger->begin(world.begun(1000));
  for (std::uint64_t n = 1; n <= 100; ++n) {
    world.call(n);
    world.clock->run_until(world.clock->now() + 50ms);
  }
  EXPECT_EQ(world.total().calls, 100);
  for (std::uint64_t n = 1; n <= 100; ++n) {
    const auto found = world.run(world.ledger->find(world.begun(n).key));
    EXPECT_TRUE(found && *found) << n;
  }
  world.restart();
  ASSERT_EQ(world.problem, "");
  EXPECT_EQ(world.total(), (Sum{"", 101, 1, 200, 25600, {10000}}));
  int begun = 0, ended = 0;
  const auto read = read_all(world.options.dir, [&](const Begun* b, const Receipt* r) {
    begun += b != nullptr;
    ended += r != nullptr;
  });
  EXPECT_TRUE(read) << read.error().message;
  EXPECT_EQ(begun, 101);
  EXPECT_EQ(ended, 101);
}

}  // namespace
}  // namespace dormouse::ledger
