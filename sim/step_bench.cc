// What one decision costs: on the warm path, with a long queue, and over many functions.
#include <benchmark/benchmark.h>

#include "scheduling/scheduler.h"

namespace dormouse::scheduling {
namespace {

using namespace std::chrono_literals;

struct Warm {
  explicit Warm(std::uint64_t functions, std::int64_t mebibytes = 1 << 20)
      : state({.cpu_millicores = 2000, .memory_bytes = mebibytes << 20}) {
    for (std::uint64_t f = 1; f <= functions; ++f) {
      feed(Added{FunctionKey{f}, {.each = {.memory_bytes = 1 << 20}, .queue_max = 1'000'000}});
      feed(Arrived{CallKey{++calls}, FunctionKey{f}, now + 30s});
      feed(Woke{InstanceKey{f}});
      feed(Ended{CallKey{calls}, 1ms, 1ms});
    }
  }
  void feed(const Event& event) {
    out.clear();
    now += 1us;
    step(state, event, now, out);
  }

  State state;
  TimePoint now{1000s};
  Commands out;
  std::uint64_t calls = 0;
};

void arrived_and_ended(benchmark::State& bench) {
  const auto functions = std::uint64_t(bench.range(0));
  Warm warm(functions);
  std::uint64_t f = 0;
  for (auto _ : bench) {
    f = f % functions + 1;
    warm.feed(Arrived{CallKey{++warm.calls}, FunctionKey{f}, warm.now + 30s});
    warm.feed(Ended{CallKey{warm.calls}, 1ms, 1ms});
  }
}
BENCHMARK(arrived_and_ended)->Arg(1)->Arg(1000)->Arg(10'000);

// Each end takes the next from the queue, each arrival joins it.
void through_a_queue(benchmark::State& bench) {
  Warm warm(1);
  for (int i = 0; i < bench.range(0); ++i) {
    warm.feed(Arrived{CallKey{++warm.calls}, FunctionKey{1}, warm.now + 1h});
  }
  std::uint64_t running = 2;
  for (auto _ : bench) {
    warm.feed(Arrived{CallKey{++warm.calls}, FunctionKey{1}, warm.now + 1h});
    warm.feed(Ended{CallKey{running++}, 1ms, 1ms});
  }
}
BENCHMARK(through_a_queue)->Arg(10)->Arg(100'000);

// All memory is held by others that are busy, and one waits for it: each event looks at them all.
void beside_a_hungry_one(benchmark::State& bench) {
  const auto functions = std::uint64_t(bench.range(0));
  Warm warm(functions, functions + 1);
  for (std::uint64_t f = 2; f <= functions; ++f) {
    warm.feed(Arrived{CallKey{++warm.calls}, FunctionKey{f}, warm.now + 1h});
  }
  warm.feed(Added{FunctionKey{functions + 1}, {.each = {.memory_bytes = 3 << 20}}});
  warm.feed(Arrived{CallKey{++warm.calls}, FunctionKey{functions + 1}, warm.now + 1h});
  warm.now += 5s;
  for (auto _ : bench) {
    warm.feed(Arrived{CallKey{++warm.calls}, FunctionKey{1}, warm.now + 30s});
    warm.feed(Ended{CallKey{warm.calls}, 1ms, 1ms});
  }
}
BENCHMARK(beside_a_hungry_one)->Arg(10)->Arg(100)->Arg(1000);

}  // namespace
}  // namespace dormouse::scheduling

BENCHMARK_MAIN();
