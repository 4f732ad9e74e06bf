#include "scheduling/scheduler.h"

#include <algorithm>

#include "scheduling/turn.h"

namespace dormouse::scheduling {
namespace {

// A function with a queue is looked at again after as long as waking or running takes, but not
// more often than this: what was expected may not have come true.
constexpr Duration look_again_min = std::chrono::milliseconds(10);

constexpr Duration forever = std::chrono::hours(24 * 365 * 100);  // Added to a time, no overflow.

Terms within_bounds(Terms terms) {
  CHECK(terms.concurrency >= 1 && terms.instances_max >= 1 && terms.queue_max >= 0);
  CHECK(terms.concurrency == 1 || !terms.one_call);
  CHECK(terms.instances_min >= 0 && terms.each.memory_bytes >= 0);
  terms.instances_min = std::min(terms.instances_min, terms.instances_max);
  terms.keep_alive = std::min(terms.keep_alive, forever);
  terms.start_timeout = std::min(terms.start_timeout, forever);
  return terms;
}

}  // namespace

void Turn::set_due(Timer& timer, TimePoint due) {
  timer.due = due;
  if (shard_.agenda.holds(&timer)) {
    shard_.agenda.moved(&timer);
  } else {
    shard_.agenda.push(&timer);
  }
}

void Turn::clear_due(Timer& timer) {
  if (shard_.agenda.holds(&timer)) shard_.agenda.erase(&timer);
}

Demand Turn::demand(const Function& function) const {
  const std::int64_t now_us = now_.time_since_epoch().count();
  const std::int64_t age_us =
      function.running == 0 ? 0 : now_us - function.begun_sum_us / function.running;
  return {.queued = std::int64_t(function.queue.size()),
          .slots = function.slots_serving,
          .slots_waking = function.slots_waking,
          .concurrency = function.terms.concurrency,
          .one_call = function.terms.one_call,
          .run = function.learned.run_expected(),
          .wake = wake_expected(function),
          .running_for = Duration(age_us),
          .cpu_share = function.learned.cpu_share(),
          .cpus = static_cast<double>(node_.total.cpu_millicores) / 1000};
}

std::int64_t Turn::lacking(const Function& function) const {
  if (function.withdrawn) return 0;
  return function.terms.instances_min - function.starting - function.serving;
}

std::int64_t Turn::wanted(const Function& function) const {
  const std::int64_t lacks = lacking(function);
  if (function.queue.empty() && lacks <= 0) return 0;
  if (shard_.closing || function.backoff.holds(now_)) return 0;
  if (!fits(function.terms.each, node_.total)) return 0;
  std::int64_t count = instances_to_wake(demand(function));
  if (now_ >= function.minimum_not_before) count = std::max(count, lacks);
  return std::min(count, function.terms.instances_max - std::int64_t(function.instances.size()));
}

void Turn::settle(Function& function) {
  dispatch_queued(function);
  if (function.backoff.holds(now_) && function.starting + function.serving == 0) {
    refuse_queue(function, function.backoff.why(),
                 whole_seconds(function.backoff.next_start_at() - now_));
  }
  std::int64_t count = wanted(function);
  if (count > 0 && !shard_.hungry.empty()) {
    set_hungry(function, true);
    choose_favoured();
  }
  for (; count > 0 && may_take(function); --count) wake(function);
  set_hungry(function, count > 0);
  if (shard_.closing || function.withdrawn) stop_unneeded(function);
  mind_template(function);
  look_again(function);
  if (!shard_.hungry.empty()) feed();
  const bool is_empty =
      function.queue.empty() && function.instances.empty() && function.mold.count == 0;
  if (function.withdrawn && is_empty) {
    clear_due(function);
    shard_.functions.erase(function.key);
  }
}

void Turn::look_again(Function& function) {
  if (!function.queue.empty()) {
    Duration pause =
        std::max({wake_expected(function), function.learned.run_expected(), look_again_min});
    if (shard_.hungry.holds(&function)) pause = std::min(pause, soon);
    if (!shard_.agenda.holds(&function)) {
      set_due(function, std::max(now_ + pause, function.backoff.next_start_at()));
    }
    return;
  }
  const TimePoint start = std::max(function.backoff.next_start_at(), function.minimum_not_before);
  if (lacking(function) > 0 && start > now_ && !shard_.closing) {
    set_due(function, start);
  } else {
    clear_due(function);
  }
}

void Turn::on(const Added& event) {
  const auto [at, is_new] = shard_.functions.try_emplace(
      event.function, Function{{Whose::function}, event.function, within_bounds(event.terms)});
  Function& function = at->second;
  function.mold.function = &function;
  function.whole = event.terms.each;
  if (!is_new) {
    const Resources each = function.terms.each;
    function.terms = within_bounds(event.terms);
    if (function.mold.stands) function.terms.each = each;
    function.withdrawn = false;
    for (Instance* i = function.dozing.front(); i; i = function.dozing.after(i)) {
      set_due(*i, std::max(now_, i->since + function.terms.keep_alive));
    }
  }
  settle(function);
}

void Turn::on(const Withdrawn& event) {
  const auto found = shard_.functions.find(event.function);
  if (found == shard_.functions.end()) return;
  found->second.withdrawn = true;
  settle(found->second);
}

void Turn::on(const Tick&) {
  while (Timer* timer = shard_.agenda.top()) {
    if (timer->due > now_) return;
    shard_.agenda.erase(timer);
    Function* function = nullptr;
    switch (timer->whose) {
      case Whose::call: {
        Call& call = static_cast<Call&>(*timer);
        function = call.function;
        deadline_passed(call);
        break;
      }
      case Whose::instance: {
        Instance& instance = static_cast<Instance&>(*timer);
        function = instance.function;
        time_passed(instance);
        break;
      }
      case Whose::function: function = static_cast<Function*>(timer); break;
      case Whose::template_of_function: {
        Template& mold = static_cast<Template&>(*timer);
        function = mold.function;
        drop(mold);
        break;
      }
    }
    settle(*function);
  }
}

void Turn::on(const Closing&) {
  shard_.closing = true;
  for (auto at = shard_.functions.begin(); at != shard_.functions.end();) {
    Function& function = (at++)->second;  // settle() may erase it.
    refuse_queue(function, {Code::unavailable, "shutting down"}, std::chrono::seconds(1));
    settle(function);
  }
}

State::State(Resources node) : impl_(std::make_unique<Impl>()) {
  impl_->node.total = node;
}
State::~State() = default;

void step(State& state, const Event& event, TimePoint now, Commands& out) {
  Turn turn(state.impl(), now, out);
  std::visit([&](const auto& e) { turn.on(e); }, event);
}

TimePoint next_tick(const State& state) {
  const Timer* first = state.impl().shard.agenda.top();
  return first ? first->due : never;
}

View view(const State& state, FunctionKey key) {
  const Shard& shard = state.impl().shard;
  const auto found = shard.functions.find(key);
  if (found == shard.functions.end()) return {};
  const Function& f = found->second;
  const auto dozing = std::int32_t(f.dozing.size());
  const bool forks = f.mold.stands;
  return {.starting = f.starting,
          .busy = f.serving - dozing + f.retiring,
          .dozing = dozing,
          .stopping = f.stopping,
          .running = std::int32_t(f.running),
          .queued = std::int32_t(f.queue.size()),
          .waits_for_memory = shard.hungry.holds(&f) && f.hungry_for_calls,
          .wake_expected = forks             ? f.learned.fork_expected()
                           : f.learned.wakes ? f.learned.wake_expected()
                                             : Duration(0),
          .run_expected = f.learned.runs ? f.learned.run_expected() : Duration(0),
          .failed_starts = f.backoff.failures,
          .next_start_at = f.backoff.next_start_at(),
          .why = f.backoff.why().message,
          .has_template = forks};
}

Resources held(const State& state) {
  return state.impl().node.held;
}

}  // namespace dormouse::scheduling
