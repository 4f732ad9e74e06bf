// Tells a scheduler's life in domain verbs: what happens, and which commands follow.
//
//   Story story({.memory_bytes = 4 * gib});
//   story.at(0s, Added{...});
//   story.at(1s, arrived(1), {"wake i1 for f1"});
#pragma once

#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include "scheduling/scheduler.h"

namespace dormouse::scheduling {

inline constexpr std::int64_t mib = 1 << 20;
inline constexpr std::int64_t gib = std::int64_t(1) << 30;

template <class Key>
std::uint64_t number(Key key) {
  return static_cast<std::uint64_t>(key);
}

struct InWords {
  std::string operator()(const Wake& c) const {
    return "wake i" + std::to_string(number(c.instance)) + " for f" +
           std::to_string(number(c.function));
  }
  std::string operator()(const Dispatch& c) const {
    return "c" + std::to_string(number(c.call)) + " to i" + std::to_string(number(c.instance));
  }
  std::string operator()(const Refuse& c) const {
    std::string words = "refuse c" + std::to_string(number(c.call)) + " " +
                        std::string(name(c.why.code)) + ": " + c.why.message;
    if (c.retry_after.count() == 0) return words;
    std::ostringstream seconds;
    seconds << static_cast<double>(c.retry_after.count()) / 1e6;
    return words + ", retry after " + seconds.str() + " s";
  }
  std::string operator()(const Abort& c) const {
    return "abort c" + std::to_string(number(c.call)) + " in i" +
           std::to_string(number(c.instance)) + " " + std::string(name(c.code));
  }
  std::string operator()(const DropTemplate& c) const {
    return "drop the template of f" + std::to_string(number(c.function));
  }
  std::string operator()(const Stop& c) const {
    return std::string(c.manner == Manner::drain ? "drain" : "kill") + " i" +
           std::to_string(number(c.instance));
  }
};

inline Added added(std::uint64_t function, Terms terms) {
  return {FunctionKey{function}, terms};
}
inline Withdrawn withdrawn(std::uint64_t function) {
  return {FunctionKey{function}};
}
inline Left left(std::uint64_t call) {
  return {CallKey{call}};
}
inline Woke woke(std::uint64_t instance) {
  return {InstanceKey{instance}};
}
inline Broke broke(std::uint64_t instance) {
  return {InstanceKey{instance}};
}
inline Lost lost(std::uint64_t instance) {
  return {InstanceKey{instance}};
}
inline Ended ended(std::uint64_t call, Duration run = std::chrono::milliseconds(2)) {
  return {CallKey{call}, run, run};
}
inline WakeFailed wake_failed(std::uint64_t instance, std::string why = "no such model") {
  return {InstanceKey{instance}, {Code::function_failed, std::move(why)}};
}

class Story {
 public:
  explicit Story(Resources node = {.cpu_millicores = 2000, .memory_bytes = 4 * gib})
      : state(node) {}

  using Words = std::vector<std::string>;

  void at(Duration time, const Event& event, const Words& expected = {}) {
    now = TimePoint(time);
    EXPECT_EQ(step_in_words(event), expected) << "at " << time.count() << " us";
  }
  void call(Duration time, std::uint64_t key, const Words& expected = {},
            std::uint64_t function = 1, Duration timeout = std::chrono::seconds(30),
            Duration run_max = {}) {
    at(time, Arrived{CallKey{key}, FunctionKey{function}, TimePoint(time + timeout), run_max},
       expected);
  }
  // Nothing happens but that time passes.
  void until(Duration time, const Words& expected = {}) {
    Words words;
    while (next_tick(state) <= TimePoint(time)) {
      now = next_tick(state);
      for (auto& w : step_in_words(Tick{})) words.push_back(std::move(w));
    }
    now = TimePoint(time);
    EXPECT_EQ(words, expected) << "until " << time.count() << " us";
  }
  // An instance that serves and is idle.
  void awake(Duration time, std::uint64_t function, std::uint64_t instance, std::uint64_t call_key,
             Duration run = std::chrono::milliseconds(2)) {
    const auto i = std::to_string(instance);
    const auto c = std::to_string(call_key);
    call(time, call_key, {"wake i" + i + " for f" + std::to_string(function)}, function);
    at(time, woke(instance), {"c" + c + " to i" + i});
    at(time + run, ended(call_key, run));
  }
  View seen(std::uint64_t function = 1) const { return view(state, FunctionKey{function}); }

  State state;
  TimePoint now{};

 private:
  Words step_in_words(const Event& event) {
    Commands commands;
    step(state, event, now, commands);
    Words words;
    for (const auto& command : commands) words.push_back(std::visit(InWords{}, command));
    return words;
  }
};

}  // namespace dormouse::scheduling
