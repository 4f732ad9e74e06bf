#include <algorithm>

#include "scheduling/turn.h"

namespace dormouse::scheduling {

void Turn::wake(Function& function) {
  const InstanceKey key{++shard_.instances_made};
  Instance& instance = shard_.instances
                           .try_emplace(key, Instance{{Whose::instance},
                                                      key,
                                                      &function,
                                                      function.terms.each,
                                                      function.terms.concurrency})
                           .first->second;
  instance.since = now_;
  note_overtaking(instance);
  no_longer_idle(function.mold);
  function.instances.push_back(&instance);
  ++function.starting;
  function.slots_waking += instance.slots;
  node_.held = node_.held + instance.holds;
  set_due(instance, now_ + function.terms.start_timeout);
  out_.push_back(Wake{key, function.key});
}

void Turn::on(const Woke& event) {
  const auto found = shard_.instances.find(event.instance);
  CHECK(found != shard_.instances.end());
  Instance& instance = found->second;
  if (instance.life == Life::stopping) return;  // Given up while it became ready.
  CHECK(instance.life == Life::waking);
  Function& function = *instance.function;
  clear_due(instance);
  if (event.forked) function.learned.forked(now_ - instance.since);
  if (!event.forked) function.learned.woke(now_ - instance.since);
  function.backoff.succeeded();
  --function.starting;
  ++function.serving;
  function.slots_waking -= instance.slots;
  function.slots_serving += instance.slots;
  instance.life = Life::serving;
  instance.since = now_;
  function.open.push(&instance);
  rest(instance);
  settle(function);
}

void Turn::on(const WakeFailed& event) {
  const auto found = shard_.instances.find(event.instance);
  CHECK(found != shard_.instances.end());
  Instance& instance = found->second;
  if (instance.life == Life::stopping) return;  // Given up while it failed.
  CHECK(instance.life == Life::waking);
  Function& function = *instance.function;
  stop(instance, Manner::kill);
  start_failed(instance, event.why);
  settle(function);
}

void Turn::start_failed(Instance& instance, Error why) {
  instance.function->backoff.failed(instance.since, now_, std::move(why));
}

// Nothing runs in it, or less than did.
void Turn::rest(Instance& instance) {
  if (instance.running > 0) return;
  if (instance.life == Life::serving) doze(instance);
  if (instance.life != Life::retiring) return;
  stop(instance, instance.aborted > 0 ? Manner::kill : Manner::drain);
}

void Turn::doze(Instance& instance) {
  Function& function = *instance.function;
  if (function.dozing.empty()) shard_.dozing.push_back(&function);
  function.dozing.push_back(&instance);
  const Duration longest = function.terms.keep_alive;
  const bool forks = function.mold.stands;
  set_due(instance, now_ + (forks ? std::min(longest, function.terms.keep_alive_forked) : longest));
}

void Turn::stir(Instance& instance) {
  Function& function = *instance.function;
  clear_due(instance);
  function.dozing.erase(&instance);
  if (function.dozing.empty()) shard_.dozing.erase(&function);
}

// Takes no more calls.
void Turn::close(Instance& instance) {
  Function& function = *instance.function;
  if (function.open.holds(&instance)) function.open.erase(&instance);
  if (function.dozing.holds(&instance)) stir(instance);
  clear_due(instance);
  if (instance.life == Life::waking) {
    --function.starting;
    function.slots_waking -= instance.slots;
  } else {
    CHECK(instance.life == Life::serving);
    --function.serving;
    function.slots_serving -= instance.slots;
  }
  shard_.leaving = shard_.leaving + instance.holds;
}

void Turn::retire(Instance& instance) {
  close(instance);
  instance.life = Life::retiring;
  ++instance.function->retiring;
}

void Turn::stop(Instance& instance, Manner manner) {
  CHECK(instance.running == 0 && instance.life != Life::stopping);
  if (instance.life == Life::retiring) {
    --instance.function->retiring;
  } else {
    close(instance);
  }
  instance.life = Life::stopping;
  ++instance.function->stopping;
  out_.push_back(Stop{instance.key, manner});
}

// Of a function that takes no new calls: what is idle, and what wakes for nobody.
void Turn::stop_unneeded(Function& function) {
  if (!function.queue.empty()) return;
  while (!function.dozing.empty()) stop(*function.dozing.front(), Manner::drain);
  if (function.starting == 0) return;
  for (Instance* i = function.instances.front(); i; i = function.instances.after(i)) {
    if (i->life == Life::waking) stop(*i, Manner::kill);
  }
}

void Turn::time_passed(Instance& instance) {
  Function& function = *instance.function;
  if (instance.life == Life::waking) {
    const auto limit = std::chrono::ceil<std::chrono::milliseconds>(now_ - instance.since).count();
    stop(instance, Manner::kill);
    start_failed(instance, {Code::function_failed, "starting an instance: it was not ready after " +
                                                       std::to_string(limit) +
                                                       " ms, within its start_timeout"});
    return;
  }
  CHECK(instance.life == Life::serving && instance.running == 0);
  // One that the minimum keeps has nothing due until it has run again.
  if (function.starting + function.serving > function.terms.instances_min) {
    stop(instance, Manner::drain);
  }
}

void Turn::on(const Broke& event) {
  const auto found = shard_.instances.find(event.instance);
  CHECK(found != shard_.instances.end());
  Instance& instance = found->second;
  if (instance.life != Life::serving && !event.harm) return;
  if (event.harm) instance.function->backoff.did_harm(now_, *event.harm);
  if (instance.life == Life::serving) retire(instance);
  settle(*instance.function);
}

void Turn::on(const Lost& event) {
  const auto found = shard_.instances.find(event.instance);
  CHECK(found != shard_.instances.end());
  Instance& instance = found->second;
  Function& function = *instance.function;
  const bool was_told = instance.life == Life::stopping;
  const bool was_waking = instance.life == Life::waking;
  while (!instance.calls.empty()) {
    Call& call = *instance.calls.front();
    if (!call.aborted) {
      out_.push_back(Abort{call.key, instance.key, Code::function_failed});
      function.begun_sum_us -= call.begun.time_since_epoch().count();
      --function.running;
      --instance.running;
    }
    instance.calls.erase(&call);
    forget(call);
  }
  if (!was_told && !was_waking && !instance.was_used) {
    function.minimum_not_before = now_ + backoff(++function.unused_losses);
  }
  if (instance.life == Life::retiring) {
    --function.retiring;
  } else if (was_told) {
    --function.stopping;
  } else {
    close(instance);
  }
  shard_.leaving = shard_.leaving - instance.holds;
  node_.held = node_.held - instance.holds;
  function.instances.erase(&instance);
  if (was_waking) {
    start_failed(instance, {Code::function_failed, "the instance ended before it was ready"});
  }
  shard_.instances.erase(found);
  settle(function);
}

}  // namespace dormouse::scheduling
