// 10,000 lives from seeds: a fleet that is slow, fails, loses instances, whose clients leave and
// whose operator changes his mind; after every step what must always hold is checked against a
// model that knows only the events and the commands.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>
#include <random>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "scheduling/backoff.h"
#include "scheduling/scheduler.h"

namespace dormouse::scheduling {
namespace {

using namespace std::chrono_literals;

constexpr std::int64_t unit = std::int64_t(64) << 20;

struct SimCall {
  enum { waiting, running, aborted, over } is = waiting;
  FunctionKey function;
  TimePoint arrived, deadline;
  Duration run_max{};
  InstanceKey instance{};
};

struct SimInstance {
  enum { waking, serving, broken, stopping } is = waking;
  FunctionKey function;
  Resources holds;
  int slots = 0;
  TimePoint since;
  bool was_used = false;
  bool is_spent = false;  // It has taken the one call that it may.
  std::set<CallKey> running, aborted;
};

struct SimTemplate {
  int number = 0;
  Resources holds;
  bool broken = false;  // Another may be made beside it.
  bool dropped = false;
  bool unplanned = false;  // Made by an instance that was to be forked from one that broke.
};

struct SimFunction {
  Terms terms;
  bool withdrawn = false;
  double fails = 0;  // Probability of a start.
  Duration wake, run;
  double cpu_share = 1;
  bool forks = false;
  std::vector<SimTemplate> templates;
  Resources forked_each;
  int failures = 0;
  TimePoint last_failure = TimePoint::min(), next_start{};
  int harms = 0;
  TimePoint last_harm{}, held_until{};
};

class World {
 public:
  explicit World(std::uint64_t seed) : random_(seed), node_(any_node()), state_(node_) {
    const int functions = between(1, 4);
    for (int i = 1; i <= functions; ++i) add(FunctionKey(i));
  }

  // Everything that goes wrong is reported once, in words; empty: nothing did.
  std::string live() {
    const int arrivals = between(10, 60);
    for (int i = 0; i < arrivals && broken_.empty(); ++i) {
      pass(chance(0.7) ? Duration(between(0, 20'000)) : Duration(between(0, 3'000'000)));
      happen();
    }
    quiet();
    return broken_;
  }

  std::uint64_t steps = 0;

 private:
  int between(int least, int most) {
    return std::uniform_int_distribution<int>(least, most)(random_);
  }
  bool chance(double p) { return std::uniform_real_distribution<>(0, 1)(random_) < p; }
  Duration around(Duration mean) {
    const double factor = std::exponential_distribution<>(1)(random_);
    return Duration(1 + std::int64_t(double(mean.count()) * factor));
  }
  Resources any_node() {
    return {.cpu_millicores = 1000 * between(0, 4), .memory_bytes = unit * between(4, 12)};
  }

  void expect(bool holds, const std::string& what) {
    if (!holds && broken_.empty()) {
      broken_ = what + " at " + std::to_string(now_.time_since_epoch().count()) + " us";
    }
  }

  // ---- what happens from outside ----------------------------------------------------------------

  Terms any_terms() {
    Terms terms;
    terms.each = {.cpu_millicores = 1000, .memory_bytes = unit * between(1, chance(0.05) ? 20 : 3)};
    terms.concurrency = chance(0.7) ? 1 : between(2, 4);
    terms.one_call = terms.concurrency == 1 && chance(0.15);
    terms.instances_min = chance(0.8) ? 0 : 1;
    terms.instances_max = between(1, 5);
    terms.queue_max = chance(0.8) ? 100 : between(0, 3);
    terms.keep_alive = Duration(between(0, 2'000'000));
    terms.template_keep_alive = Duration(between(0, 5'000'000));
    terms.start_timeout = chance(0.9) ? Duration(60s) : Duration(between(1000, 200'000));
    return terms;
  }

  void add(FunctionKey key) {
    SimFunction f{.terms = any_terms()};
    f.fails = chance(0.7) ? 0 : chance(0.5) ? 0.3 : 1;
    f.wake = Duration(between(1000, 500'000));
    f.run = Duration(chance(0.9) ? between(1000, 300'000) : between(1'000'000, 10'000'000));
    f.cpu_share = chance(0.5) ? 1 : 0;
    f.forks = chance(0.4);
    functions_[key] = f;
    feed(Added{key, f.terms});
  }

  void happen() {
    const FunctionKey f{std::uint64_t(between(1, int(functions_.size())))};
    if (chance(0.01)) return withdraw(f);
    if (chance(0.02)) return change_terms(f);
    if (chance(0.002)) {
      is_closing_ = true;
      return feed(Closing{});
    }
    if (chance(0.1)) return leave();
    if (chance(0.04)) return lose();
    if (chance(0.03)) return break_template(functions_[f], f);
    const int burst = chance(0.9) ? 1 : between(2, 20);
    for (int i = 0; i < burst; ++i) arrive(f);
  }

  void arrive(FunctionKey f) {
    const CallKey key{++calls_made_};
    const TimePoint deadline = now_ + (chance(0.9) ? Duration(20s) : Duration(between(1, 500'000)));
    const Duration run_max = chance(0.8) ? Duration{} : Duration(between(1, 5'000'000));
    calls_[key] = {.function = f, .arrived = now_, .deadline = deadline, .run_max = run_max};
    open_.push_back(key);
    feed(Arrived{key, f, deadline, run_max});
  }

  void leave() {
    if (calls_made_ == 0) return;
    const CallKey key{std::uint64_t(between(1, int(calls_made_)))};
    SimCall& call = calls_[key];
    if (call.is == SimCall::waiting) call.is = SimCall::over;
    left_ = key;
    feed(Left{key});
    expect(calls_[key].is != SimCall::running, "a call runs on after its client left");
  }

  void withdraw(FunctionKey f) {
    functions_[f].withdrawn = true;
    feed(Withdrawn{f});
  }

  void change_terms(FunctionKey f) {
    SimFunction& function = functions_[f];
    const Resources each = function.terms.each;
    function.terms = any_terms();
    function.terms.each = each;
    function.withdrawn = false;
    // The scheduler forgets a withdrawn function once it is gone, and its failures with it.
    if (view(state_, f).failed_starts == 0) forgive(function);
    if (view(state_, f).next_start_at == TimePoint{}) {
      function.harms = 0;
      function.held_until = {};
    }
    feed(Added{f, function.terms});
  }

  void lose() {
    if (instances_.empty()) return;
    auto at = instances_.begin();
    std::advance(at, between(0, int(instances_.size()) - 1));
    if (at->second.is != SimInstance::serving || chance(0.3)) return lost(at->first);
    at->second.is = SimInstance::broken;
    later(Duration(between(0, 50'000)), [this, key = at->first] { lost(key); });
    if (!chance(0.2)) return feed(Broke{at->first});
    did_harm(functions_[at->second.function]);
    feed(Broke{at->first, Error{Code::unavailable, "a bomb"}});
  }

  // ---- what the fleet does with commands --------------------------------------------------------

  void carry_out(const Wake& c) {
    SimFunction& f = functions_[c.function];
    expect(!is_closing_, "a wake while closing");
    expect(now_ >= f.next_start, "a start before its back-off is over");
    expect(now_ >= f.held_until, "a start too soon after harm");
    expect(!instances_.contains(c.instance), "an instance's number is used twice");
    instances_[c.instance] = {
        .function = c.function, .holds = each(f), .slots = f.terms.concurrency, .since = now_};
    expect(count(c.function) <= f.terms.instances_max, "more instances than the maximum");
    const bool fails = !is_quiet_ && chance(f.fails);
    later(around(f.wake), [this, key = c.instance, fails] { ready(key, fails); });
  }

  void ready(InstanceKey key, bool fails) {
    const auto at = instances_.find(key);
    if (at == instances_.end() || at->second.is == SimInstance::serving) return;
    SimFunction& f = functions_[at->second.function];
    const bool is_waking = at->second.is == SimInstance::waking;
    if (fails && chance(0.3)) return lost(key);
    if (fails) {
      if (is_waking) failed(f, at->second.since);
      return feed(WakeFailed{key, {Code::function_failed, "does not start"}});
    }
    const bool forked = has_template(f);
    if (f.forks && !forked) make_template(f, at->second);
    if (is_waking) {
      at->second.is = SimInstance::serving;
      forgive(f);
    }
    feed(Woke{key, forked});
  }

  static bool has_template(const SimFunction& f) {
    return std::ranges::any_of(f.templates, [](const SimTemplate& t) { return !t.broken; });
  }
  static Resources each(const SimFunction& f) {
    return has_template(f) ? f.forked_each : f.terms.each;
  }

  void make_template(SimFunction& f, const SimInstance& by) {
    const FunctionKey key = by.function;
    const Resources whole = f.terms.each;
    const Resources holds{.memory_bytes = whole.memory_bytes * between(1, 3) / 4};
    f.templates.push_back({.number = ++templates_made_,
                           .holds = holds,
                           .unplanned = by.holds.memory_bytes < whole.memory_bytes});
    f.forked_each = whole - holds;
    for (auto& [_, i] : instances_) {
      if (i.function == key && i.holds.memory_bytes > f.forked_each.memory_bytes) {
        i.holds = f.forked_each;
      }
    }
    feed(TemplateMade{key, holds, f.forked_each});
  }

  // It ends by itself: its instances live on, and it is lost when they are gone, or later.
  void break_template(SimFunction& f, FunctionKey key) {
    if (!has_template(f)) return;
    let_fall(f, key);
    feed(TemplateBroke{key});
  }

  void let_fall(SimFunction& f, FunctionKey key) {
    for (SimTemplate& t : f.templates) {
      if (std::exchange(t.broken, true)) continue;
      lose_template(key, t.number);
    }
  }

  void lose_template(FunctionKey key, int number) {
    later(Duration(between(0, 500'000)), [this, key, number] {
      SimFunction& f = functions_[key];
      const auto at = std::ranges::find(f.templates, number, &SimTemplate::number);
      if (at == f.templates.end()) return;
      if (count(key) > 0 && !at->dropped) return;  // lost() comes back to it.
      const SimTemplate gone = *at;
      f.templates.erase(at);
      feed(TemplateLost{key, gone.holds, gone.dropped});
    });
  }

  void carry_out(const DropTemplate& c) {
    SimFunction& f = functions_[c.function];
    expect(has_template(f), "a drop of a template that is not there");
    expect(count(c.function) == 0, "a drop of a template with instances");
    for (SimTemplate& t : f.templates) t.dropped = t.dropped || !t.broken;
    let_fall(f, c.function);
  }

  void failed(SimFunction& f, TimePoint began) {
    if (began >= f.last_failure) {
      ++f.failures;
      f.last_failure = now_;
    }
    f.next_start = std::max(f.next_start, now_ + backoff(f.failures));
  }

  void did_harm(SimFunction& f) {
    if (now_ - f.last_harm > 10min) f.harms = 0;
    f.harms += now_ >= f.held_until ? 1 : 0;
    f.last_harm = now_;
    f.held_until = now_ + std::min<Duration>(std::chrono::seconds(1 << std::min(f.harms, 6)), 60s);
  }

  static void forgive(SimFunction& f) {
    f.failures = 0;
    f.last_failure = TimePoint::min();
    f.next_start = {};
  }

  void carry_out(const Dispatch& c) {
    SimCall& call = calls_[c.call];
    SimInstance& instance = instances_[c.instance];
    expect(call.is == SimCall::waiting, "a dispatch of a call that does not wait");
    expect(call.deadline > now_, "a dispatch after the deadline");
    if (call.run_max > Duration{}) call.deadline = now_ + call.run_max;
    expect(call.function == instance.function, "a dispatch to another function's instance");
    expect(instance.is == SimInstance::serving, "a dispatch to what does not serve");
    expect(instance.aborted.empty(), "a dispatch to an instance with an aborted call");
    expect(!instance.is_spent, "a second call for an instance that takes one");
    call.is = SimCall::running;
    unserved_for_[call.function] = {};
    call.instance = c.instance;
    instance.was_used = true;
    instance.running.insert(c.call);
    expect(int(instance.running.size()) <= instance.slots, "more calls than slots");
    const Duration run = around(functions_[call.function].run);
    later(run, [this, key = c.call, run] { end(key, run); });
  }

  void end(CallKey key, Duration run) {
    SimCall& call = calls_[key];
    if (call.is == SimCall::over) return;
    SimInstance& instance = instances_[call.instance];
    if (!instance.running.erase(key)) instance.aborted.erase(key);
    call.is = SimCall::over;
    instance.is_spent = functions_[call.function].terms.one_call;
    const double share = functions_[call.function].cpu_share;
    feed(Ended{key, run, Duration(std::int64_t(share * double(run.count())))});
  }

  void carry_out(const Refuse& c) {
    SimCall& call = calls_[c.call];
    expect(call.is == SimCall::waiting, "a refusal of a call that does not wait");
    expect(c.retry_after.count() % 1'000'000 == 0, "a Retry-After of part of a second");
    const bool for_room = c.why.code == Code::overloaded && c.retry_after > Duration(0);
    // A full queue refuses who comes, and time who has waited.
    const bool in_vain = c.why.code == Code::throttled && call.arrived < now_;
    const bool for_time = c.why.code == Code::deadline_exceeded || for_room || in_vain;
    expect(for_time ? call.deadline <= now_ : call.deadline >= now_,
           "refused for its deadline, but not at it");
    call.is = SimCall::over;
  }

  void carry_out(const Abort& c) {
    SimCall& call = calls_[c.call];
    expect(call.is == SimCall::running, "an abort of a call that does not run");
    expect(call.instance == c.instance, "an abort in the wrong instance");
    const bool is_lost = lost_ == c.instance;
    expect((c.code == Code::function_failed) == is_lost, "aborted as failed, but not lost");
    if (c.code == Code::cancelled) expect(left_ == c.call, "cancelled, but its client is there");
    if (c.code == Code::deadline_exceeded) expect(call.deadline <= now_, "aborted too early");
    call.is = is_lost ? SimCall::over : SimCall::aborted;
    SimInstance& instance = instances_[c.instance];
    instance.running.erase(c.call);
    if (!is_lost) instance.aborted.insert(c.call);
  }

  void carry_out(const Stop& c) {
    SimInstance& instance = instances_[c.instance];
    expect(instance.is != SimInstance::stopping, "stopped twice");
    expect(instance.running.empty(), "stopped while a call runs");
    if (c.manner == Manner::drain) expect(instance.aborted.empty(), "drained while it computes");
    if (instance.is == SimInstance::waking && now_ >= instance.since + Duration(1000) && is_tick_ &&
        !functions_[instance.function].withdrawn && !is_closing_) {
      failed(functions_[instance.function], instance.since);  // It took too long.
    }
    instance.is = SimInstance::stopping;
    later(Duration(between(0, 50'000)), [this, key = c.instance] { lost(key); });
  }

  void lost(InstanceKey key) {
    const auto at = instances_.find(key);
    if (at == instances_.end()) return;
    if (at->second.is == SimInstance::waking)
      failed(functions_[at->second.function], at->second.since);
    const FunctionKey function = at->second.function;
    lost_ = key;
    feed(Lost{key});
    lost_ = {};
    for (const SimTemplate& t : functions_[function].templates) {
      if (t.broken) lose_template(function, t.number);
    }
  }

  // ---- time, and what must always hold ----------------------------------------------------------

  void later(Duration delay, std::function<void()> what) { due_.emplace(now_ + delay, what); }

  void pass(Duration duration) { pass_until(now_ + duration); }

  void pass_until(TimePoint end) {
    while (broken_.empty()) {
      const TimePoint tick = next_tick(state_);
      const TimePoint own = due_.empty() ? never : due_.begin()->first;
      if (std::min(tick, own) > end || std::min(tick, own) == never) break;
      now_ = std::max(now_, std::min(tick, own));
      if (own <= tick) {
        const auto what = due_.extract(due_.begin());
        what.mapped()();
      } else {
        is_tick_ = true;
        feed(Tick{});
        is_tick_ = false;
        expect(next_tick(state_) > now_, "a tick asks for another at once");
      }
      expect(steps < 100'000, "it never comes to rest");
    }
    if (end != never) now_ = std::max(now_, end);
  }

  void feed(const Event& event) {
    ++steps;
    Commands commands;
    step(state_, event, now_, commands);
    if (lost_ != InstanceKey{}) {
      for (const auto& c : commands) {
        if (const auto* abort = std::get_if<Abort>(&c)) carry_out(*abort);
      }
      const SimInstance& gone = instances_[lost_];
      expect(gone.running.empty(), "a call is left behind in a lost instance");
      for (const CallKey call : gone.aborted) calls_[call].is = SimCall::over;
      instances_.erase(lost_);
    }
    for (const auto& c : commands) {
      if (lost_ != InstanceKey{} && std::holds_alternative<Abort>(c)) continue;
      std::visit([this](const auto& command) { carry_out(command); }, c);
    }
    check();
  }

  int count(FunctionKey f) const {
    return int(
        std::ranges::count_if(instances_, [f](const auto& i) { return i.second.function == f; }));
  }

  // Of the instances that wake, and of one that may be woken.
  int slots_to_come(FunctionKey key) const {
    int slots = functions_.at(key).terms.concurrency;
    for (const auto& [_, i] : instances_) {
      if (i.function == key && i.is == SimInstance::waking) slots += i.slots;
    }
    return slots;
  }

  void check() {
    Resources sum;
    std::int64_t unplanned = 0;
    for (const auto& [key, i] : instances_) sum = sum + i.holds;
    for (const auto& [key, f] : functions_) {
      for (const SimTemplate& t : f.templates) {
        sum = sum + t.holds;
        if (t.unplanned) unplanned += t.holds.memory_bytes;
      }
    }
    expect(held(state_) == sum, "held is not the sum of what lives");
    expect(sum.memory_bytes <= node_.memory_bytes + unplanned, "more memory than the node has");
    std::map<FunctionKey, int> waiting, running;
    std::erase_if(open_, [this](CallKey key) { return calls_[key].is == SimCall::over; });
    for (const CallKey key : open_) {
      const SimCall& call = calls_[key];
      if (call.is == SimCall::waiting) ++waiting[call.function];
      if (call.is == SimCall::running) ++running[call.function];
      if (is_tick_ && call.is != SimCall::over && call.is != SimCall::aborted) {
        expect(call.deadline > now_, "a call outlives its deadline");
      }
    }
    for (const auto& [key, function] : functions_) {
      const View seen = view(state_, key);
      expect(seen.queued == waiting[key], "the queue is not what waits");
      expect(seen.running == running[key], "what runs is not what was dispatched");
      expect(seen.queued == 0 || seen.dozing == 0, "a call waits beside an idle instance");
      const int bound = function.terms.queue_max + slots_to_come(key);
      expect(seen.queued <= std::max(bound, most_queued_[key]),
             "the queue is longer than its maximum");
      most_queued_[key] = seen.queued;  // A smaller maximum lets go of nobody.
    }
    check_room(waiting);
  }

  // What there is room for does not wait for long while another one waits for more than there is:
  // that one's time counts over calls that gave up in between (decision 21).
  void check_room(const std::map<FunctionKey, int>& waiting) {
    const Resources room = node_ - held(state_);
    const auto starves = [&](FunctionKey key) {
      return waiting.at(key) > 0 && count(key) == 0 && !is_closing_;
    };
    Duration longest{};
    for (const auto& [key, f] : functions_) {
      if (waited_before_[key]) unserved_for_[key] += now_ - looked_at_;
      waited_before_[key] = waiting.at(key) > 0;
      if (starves(key)) longest = std::max(longest, unserved_for_[key]);
    }
    looked_at_ = now_;
    for (const auto& [key, f] : functions_) {
      const bool may_start = now_ >= f.next_start && now_ >= f.held_until;
      const bool fits = each(f).memory_bytes <= room.memory_bytes;
      if (!starves(key) || !may_start || !fits) fits_since_[key] = now_;
      const Duration left_out = now_ - fits_since_[key];
      expect(left_out <= Duration(5s) + longest / 3, "it waits, though there is room for it");
    }
  }

  void quiet() {
    is_quiet_ = true;
    pass_until(never);
    for (const auto& [key, call] : calls_) expect(call.is == SimCall::over, "a call has no end");
    std::int64_t kept = 0;
    for (const auto& [key, f] : functions_)
      kept += f.terms.instances_min * f.terms.each.memory_bytes;
    // What instances hold that share a template, in the end broken, may be more than without one.
    for (const auto& [key, f] : functions_) {
      for (const SimTemplate& t : f.templates) kept += t.holds.memory_bytes;
    }
    for (const auto& [key, f] : functions_) {
      const View seen = view(state_, key);
      const bool is_kept = !f.withdrawn && !is_closing_;
      expect(seen.starting + seen.busy + seen.stopping == 0, "something stirs in the quiet");
      expect(seen.dozing <= (is_kept ? f.terms.instances_min : 0), "an idle one is not stopped");
      expect(!seen.has_template || seen.dozing > 0, "an idle template is not dropped");
      if (is_kept && kept <= node_.memory_bytes) {
        expect(seen.dozing == f.terms.instances_min, "fewer than the minimum are kept");
      }
    }
  }

  std::mt19937_64 random_;
  Resources node_;
  State state_;
  TimePoint now_{1000s};
  std::multimap<TimePoint, std::function<void()>> due_;
  std::map<FunctionKey, SimFunction> functions_;
  std::map<InstanceKey, SimInstance> instances_;
  std::unordered_map<CallKey, SimCall> calls_;
  std::vector<CallKey> open_;  // Those that are not over.
  std::map<FunctionKey, int> most_queued_;
  std::map<FunctionKey, TimePoint> fits_since_;
  std::map<FunctionKey, Duration> unserved_for_;  // Since its last call began.
  std::map<FunctionKey, bool> waited_before_;
  TimePoint looked_at_{1000s};
  std::uint64_t calls_made_ = 0;
  int templates_made_ = 0;
  InstanceKey lost_{};
  CallKey left_{};
  bool is_tick_ = false, is_quiet_ = false, is_closing_ = false;
  std::string broken_;
};

#ifdef NDEBUG
constexpr std::uint64_t lives_by_default = 10'000;
#else
constexpr std::uint64_t lives_by_default = 1'000;  // Sanitizers make them thirty times slower.
#endif

TEST(SimulatedLives, KeepEveryPromise) {
  const char* one = std::getenv("DORMOUSE_SEED");
  const std::uint64_t first = one ? std::strtoull(one, nullptr, 10) : 1;
  const char* many = std::getenv("DORMOUSE_LIVES");
  const bool is_nightly = std::getenv("DORMOUSE_NIGHTLY") != nullptr;
  const std::uint64_t usually = is_nightly ? 6 * lives_by_default : one ? 1 : lives_by_default;
  const std::uint64_t lives = many ? std::strtoull(many, nullptr, 10) : usually;
  const std::uint64_t last = first + lives - 1;
  std::uint64_t steps = 0;
  for (std::uint64_t seed = first; seed <= last; ++seed) {
    World world(seed);
    const std::string broken = world.live();
    steps += world.steps;
    ASSERT_EQ(broken, "") << "again with DORMOUSE_SEED=" << seed;
  }
  if (lives > 100) EXPECT_GT(steps, lives * 100);
  RecordProperty("steps", std::to_string(steps));
}

}  // namespace
}  // namespace dormouse::scheduling
