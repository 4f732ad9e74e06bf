#include <algorithm>

#include "scheduling/turn.h"

namespace dormouse::scheduling {
namespace {

std::string mebibytes(std::int64_t bytes) {
  return std::to_string(bytes >> 20) + " MiB";
}

Error cannot_fit(const Resources& each, const Resources& total) {
  if (each.memory_bytes > total.memory_bytes) {
    return {Code::overloaded, "one instance needs " + mebibytes(each.memory_bytes) +
                                  " of memory, all instances of this node together may have " +
                                  mebibytes(total.memory_bytes)};
  }
  return {Code::overloaded, "one instance needs " + mebibytes(each.accelerator_bytes) +
                                " of accelerator memory, this node has " +
                                mebibytes(total.accelerator_bytes)};
}

std::string needs(std::int64_t wanted, std::int64_t free, std::int64_t total) {
  return ": one instance needs " + mebibytes(wanted) + ", " + mebibytes(free) + " of " +
         mebibytes(total) + " are free";
}

// Why it waited until its deadline for room.
Error no_room(const Function& function, const Resources& free, const Resources& total) {
  const Resources& each = function.terms.each;
  const std::string by = function.instances.empty() ? "held by others" : "in use";
  if (each.memory_bytes > free.memory_bytes) {
    return {Code::overloaded, "the node's memory is " + by +
                                  needs(each.memory_bytes, free.memory_bytes, total.memory_bytes) +
                                  " (node.memory)"};
  }
  if (each.accelerator_bytes > free.accelerator_bytes) {
    return {Code::overloaded,
            "the node's accelerator memory is " + by +
                needs(each.accelerator_bytes, free.accelerator_bytes, total.accelerator_bytes)};
  }
  return {Code::overloaded, "the node's memory is kept for a function that has waited longer" +
                                needs(each.memory_bytes, free.memory_bytes, total.memory_bytes) +
                                " (node.memory)"};
}

}  // namespace

std::optional<Turn::Refusal> Turn::refusal(const Function* function, const Arrived& call) const {
  using std::chrono::seconds;
  if (shard_.closing) return Refusal{{Code::unavailable, "shutting down"}, seconds(1)};
  if (!function || function->withdrawn) {
    return Refusal{{Code::unavailable, "this revision was withdrawn"}, seconds(1)};
  }
  if (call.deadline <= now_) {
    return Refusal{{Code::deadline_exceeded, "waiting for an instance: no time left"}, {}};
  }
  if (!function->open.empty()) return std::nullopt;
  if (function->starting + function->serving == 0) {
    if (function->backoff.holds(now_)) {
      return Refusal{function->backoff.why(),
                     whole_seconds(function->backoff.next_start_at() - now_)};
    }
    if (!fits(function->terms.each, node_.total)) {
      return Refusal{cannot_fit(function->terms.each, node_.total), {}};
    }
  }
  const auto waiting = std::int64_t(function->queue.size());
  if (waiting >= function->terms.queue_max + slots_to_come(*function)) {
    const std::string queued =
        std::to_string(waiting) + (waiting == 1 ? " call waits" : " calls wait");
    return Refusal{{Code::throttled, "the queue is full: " + queued},
                   whole_seconds(expected_wait(demand(*function)))};
  }
  return std::nullopt;
}

// Who waits for these is no burden to anybody: they are being woken, or one more instance may be.
std::int64_t Turn::slots_to_come(const Function& function) const {
  const bool sleeps = function.starting + function.serving == 0;
  const bool may_grow = std::int64_t(function.instances.size()) < function.terms.instances_max &&
                        fits(function.terms.each, room());
  return function.slots_waking + (sleeps || may_grow ? function.terms.concurrency : 0);
}

void Turn::dispatch_queued(Function& function) {
  while (!function.queue.empty() && !function.open.empty()) {
    Call& call = *function.queue.front();
    if (call.due <= now_) {
      deadline_passed(call);
    } else {
      dispatch(call, *function.open.top());
    }
  }
}

void Turn::dispatch(Call& call, Instance& instance) {
  Function& function = *call.function;
  function.queue.erase(&call);
  call.instance = &instance;
  call.begun = now_;
  if (call.run_max > Duration{}) set_due(call, now_ + call.run_max);
  instance.calls.push_back(&call);
  if (instance.running == 0) stir(instance);
  ++instance.running;
  instance.since = now_;
  instance.was_used = true;
  function.unused_losses = 0;
  function.waited_in_vain = {};
  function.hungry_since = now_;
  ++function.running;
  function.begun_sum_us += now_.time_since_epoch().count();
  if (instance.running == instance.slots) {
    function.open.erase(&instance);
  } else {
    function.open.moved(&instance);
  }
  out_.push_back(Dispatch{call.key, instance.key});
}

void Turn::refuse(Call& call, Error why, Duration retry_after) {
  CHECK(!call.instance);
  call.function->queue.erase(&call);
  out_.push_back(Refuse{call.key, std::move(why), retry_after});
  forget(call);
}

void Turn::refuse_queue(Function& function, const Error& why, Duration retry_after) {
  while (!function.queue.empty()) refuse(*function.queue.front(), why, retry_after);
}

// The call is over for everyone but its instance, which may still be computing: that takes no more
// calls, and is killed once nothing but aborted ones runs in it.
void Turn::abort(Call& call, Code code) {
  Instance& instance = *call.instance;
  CHECK(!call.aborted);
  out_.push_back(Abort{call.key, instance.key, code});
  call.aborted = true;
  clear_due(call);
  call.function->begun_sum_us -= call.begun.time_since_epoch().count();
  --call.function->running;
  --instance.running;
  ++instance.aborted;
  if (instance.life == Life::serving) retire(instance);
  rest(instance);
}

// Forgets the last trace of it; its queue or instance has let it go.
void Turn::forget(Call& call) {
  clear_due(call);
  shard_.calls.erase(call.key);
}

void Turn::deadline_passed(Call& call) {
  const Function& function = *call.function;
  if (!call.instance && shard_.hungry.holds(&function) && function.hungry_for_calls) {
    // The next call has its place (waited_in_vain): so it may come soon.
    return refuse(call, no_room(function, room(), node_.total), std::chrono::seconds(1));
  }
  if (!call.instance) {
    const char* const why = function.serving == 0 ? "waiting for an instance: it was still starting"
                                                  : "waiting for an instance: all were in use";
    return refuse(call, {Code::throttled, why}, whole_seconds(expected_wait(demand(function))));
  }
  call.function->learned.ran_into_deadline(now_ - call.begun);
  abort(call, Code::deadline_exceeded);
}

void Turn::on(const Arrived& event) {
  const auto found = shard_.functions.find(event.function);
  Function* function = found == shard_.functions.end() ? nullptr : &found->second;
  if (auto refused = refusal(function, event)) {
    out_.push_back(Refuse{event.call, std::move(refused->why), refused->retry_after});
    return;
  }
  const auto [at, is_new] = shard_.calls.try_emplace(
      event.call, Call{{Whose::call}, event.call, function, now_, event.run_max});
  CHECK(is_new);
  function->queue.push_back(&at->second);
  set_due(at->second, event.deadline);
  settle(*function);
}

void Turn::on(const Left& event) {
  const auto found = shard_.calls.find(event.call);
  if (found == shard_.calls.end()) return;  // It ended while its client was leaving.
  Call& call = found->second;
  if (call.aborted) return;
  Function& function = *call.function;
  if (call.instance) {
    abort(call, Code::cancelled);
  } else {
    function.queue.erase(&call);
    forget(call);
  }
  settle(function);
}

void Turn::on(const Ended& event) {
  const auto found = shard_.calls.find(event.call);
  CHECK(found != shard_.calls.end());
  Call& call = found->second;
  CHECK(call.instance);
  Instance& instance = *call.instance;
  Function& function = *call.function;
  instance.calls.erase(&call);
  if (call.aborted) {
    --instance.aborted;
    forget(call);
    return;
  }
  function.learned.ran(event.run, event.cpu);
  function.begun_sum_us -= call.begun.time_since_epoch().count();
  --function.running;
  const bool was_full = instance.running-- == instance.slots;
  instance.since = now_;
  if (instance.life == Life::serving) {
    if (was_full) {
      function.open.push(&instance);
    } else {
      function.open.moved(&instance);
    }
  }
  forget(call);
  if (instance.life == Life::serving && (function.terms.one_call || should_yield(instance))) {
    retire(instance);
  }
  rest(instance);
  settle(function);
}

}  // namespace dormouse::scheduling
