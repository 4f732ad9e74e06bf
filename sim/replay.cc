#include "replay.h"

#include <ratio>
#include <unordered_map>
#include <utility>
#include <vector>

#include "scheduling/scheduler.h"

namespace dormouse::sim {
namespace {

using namespace scheduling;

constexpr Duration minute = std::chrono::minutes(1);
constexpr double gigabyte = 1024.0 * 1024 * 1024;

std::int64_t bytes(const TracedFunction& f) {
  return std::int64_t(f.megabytes * 1024 * 1024);
}

std::int64_t all_bytes(const Trace& trace) {
  std::int64_t sum = 0;
  for (const auto& f : trace.functions) sum += bytes(f);
  return sum;
}

class Replay {
 public:
  Replay(const Trace& trace, const Rules& rules)
      : trace_(trace),
        state_({.memory_bytes = rules.node_bytes ? rules.node_bytes : all_bytes(trace)}) {
    for (std::size_t f = 0; f < trace.functions.size(); ++f) {
      Terms terms{.each = {.memory_bytes = bytes(trace.functions[f])}, .instances_max = 1};
      terms.keep_alive = rules.keep_alive;
      feed(Added{FunctionKey{f + 1}, terms});
    }
  }

  Outcome run() {
    for (std::size_t m = 0; m < trace_.minutes; ++m) {
      pass_until(TimePoint(std::int64_t(m) * minute));
      for (std::size_t f = 0; f < trace_.functions.size(); ++f) {
        if (trace_.functions[f].by_minute[m] > 0) begin(f);
      }
    }
    pass_until(TimePoint(std::int64_t(trace_.minutes) * minute));
    outcome_.idle_gigabyte_minutes = held_gigabyte_minutes_ - outcome_.busy_gigabyte_minutes;
    return outcome_;
  }

 private:
  void begin(std::size_t f) {
    ++outcome_.calls;
    const CallKey call{std::uint64_t(outcome_.calls)};
    function_of_[call] = f;
    feed(Arrived{call, FunctionKey{f + 1}, now_ + 2 * minute});
  }

  // What is due at `end` comes before what begins then: a keep-alive that ends with the minute
  // does not save a start.
  void pass_until(TimePoint end) {
    while (next_tick(state_) < end) {
      go_to(next_tick(state_));
      feed(Tick{});
    }
    go_to(end);
    for (const CallKey call : std::exchange(running_, {})) {
      feed(Ended{call, minute, minute});
    }
    if (next_tick(state_) == end) feed(Tick{});
  }

  void go_to(TimePoint time) {
    const double minutes = std::chrono::duration<double, std::ratio<60>>(time - now_).count();
    held_gigabyte_minutes_ += double(held(state_).memory_bytes) / gigabyte * minutes;
    now_ = time;
  }

  void feed(const Event& event) {
    ++outcome_.events;
    Commands commands;
    step(state_, event, now_, commands);
    for (const auto& command : commands) {
      std::visit([this](const auto& c) { carry_out(c); }, command);
    }
  }

  void carry_out(const Wake& wake) {
    ++outcome_.cold_starts;
    feed(Woke{wake.instance});
  }
  void carry_out(const Dispatch& dispatch) {
    running_.push_back(dispatch.call);
    const auto f = function_of_.extract(dispatch.call).mapped();
    outcome_.busy_gigabyte_minutes += double(bytes(trace_.functions[f])) / gigabyte;
  }
  void carry_out(const Refuse&) { ++outcome_.refused; }
  void carry_out(const Abort&) { CHECK_UNREACHABLE("no call runs past its deadline here"); }
  void carry_out(const DropTemplate&) { CHECK_UNREACHABLE("there are no templates here"); }
  void carry_out(const Stop& stop) { feed(Lost{stop.instance}); }

  const Trace& trace_;
  State state_;
  TimePoint now_{};
  Outcome outcome_;
  double held_gigabyte_minutes_ = 0;
  std::vector<CallKey> running_;
  std::unordered_map<CallKey, std::size_t> function_of_;
};

}  // namespace

Outcome replay(const Trace& trace, const Rules& rules) {
  return Replay(trace, rules).run();
}

}  // namespace dormouse::sim
