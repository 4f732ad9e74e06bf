// Memory is the node's hard limit. A function that finds no room is hungry; the hungriest is the
// one whose first call waits longest. For it, idle instances of others are stopped, and busy ones
// retire once it has waited long enough for the change to pay. Others may overtake it only within
// what it will leave over: so its wait is bounded by the calls that ran before it became hungry.
#include <algorithm>
#include <limits>

#include "scheduling/reclaim.h"
#include "scheduling/turn.h"

namespace dormouse::scheduling {

bool Turn::may_take(const Function& function) {
  if (!fits(function.terms.each, room())) return false;
  const Function* first = shard_.hungry.top();
  if (!first || first == &function || !first->hungry_for_calls) return true;
  if (shard_.turn_of != first->key) {
    shard_.turn_of = first->key;
    ++shard_.turn;
    shard_.overtaken = {};
  }
  return fits(shard_.overtaken + function.terms.each, node_.total - first->terms.each);
}

void Turn::note_overtaking(Instance& instance) {
  const Function* first = shard_.hungry.top();
  if (!first || first == instance.function || first->key != shard_.turn_of) return;
  instance.overtook = shard_.turn;
  shard_.overtaken = shard_.overtaken + instance.holds;
}

void Turn::set_hungry(Function& function, bool is_hungry) {
  if (!is_hungry) {
    if (shard_.hungry.holds(&function)) shard_.hungry.erase(&function);
    return;
  }
  const bool was_hungry = shard_.hungry.holds(&function);
  const bool for_calls = !function.queue.empty();
  if (for_calls) {
    function.hungry_since = function.queue.front()->arrived;
  } else if (!was_hungry || function.hungry_for_calls) {
    function.hungry_since = now_;
  }
  function.hungry_for_calls = for_calls;
  if (was_hungry) {
    shard_.hungry.moved(&function);
  } else {
    shard_.hungry.push(&function);
  }
}

void Turn::feed() {
  if (shard_.closing) return;  // Some may not have heard of it yet.
  while (Function* first = shard_.hungry.top()) {
    if (fits(first->terms.each, room())) {
      wake(*first);
      set_hungry(*first, wanted(*first) > 0);
      continue;
    }
    if (first->hungry_for_calls) make_room(*first);
    return;
  }
}

void Turn::make_room(const Function& needy) {
  while (!fits(needy.terms.each, room() + shard_.leaving)) {
    Victim victim = least_worth_holding(needy, false);
    if (!victim.instance && !victim.mold) victim = least_worth_holding(needy, true);
    if (!victim.instance && !victim.mold) return;
    if (victim.instance) stop(*victim.instance, Manner::drain);
    if (victim.mold) drop(*victim.mold);
  }
}

// Looks at each function that has idle instances: only when memory is short, and each look ends
// with a stop or with nothing idle left.
Turn::Victim Turn::least_worth_holding(const Function& needy, bool even_minimum) const {
  Victim least{std::numeric_limits<double>::infinity()};
  for (Template* t = shard_.idle_templates.front(); t; t = shard_.idle_templates.after(t)) {
    const double saving =
        saving_per_byte({.idle = now_ - t->idle_since,
                         .wake = t->function->learned.wake_expected(),
                         .bytes = t->holds.memory_bytes + t->holds.accelerator_bytes});
    if (saving < least.saving) least = {.saving = saving, .mold = t};
  }
  for (Function* f = shard_.dozing.front(); f; f = shard_.dozing.after(f)) {
    if (f == &needy) continue;
    if (!even_minimum && f->starting + f->serving <= f->terms.instances_min) continue;
    Instance* longest = f->dozing.front();
    const double saving =
        saving_per_byte({.idle = now_ - longest->since,
                         .wake = wake_expected(*f),
                         .bytes = longest->holds.memory_bytes + longest->holds.accelerator_bytes});
    if (saving < least.saving) least = {.saving = saving, .instance = longest};
  }
  return least;
}

// Whether a busy instance should make room instead of taking the next call. Both functions pay a
// wake for the change, so the one that waits has to have waited as long as that.
bool Turn::should_yield(const Instance& instance) const {
  const Function* first = shard_.hungry.top();
  const Function& function = *instance.function;
  if (!first || first == &function || !first->hungry_for_calls) return false;
  if (fits(first->terms.each, room() + shard_.leaving)) return false;
  if (!function.queue.empty() && function.queue.front()->arrived <= first->hungry_since) {
    return false;
  }
  const Duration cost = wake_expected(*first) + wake_expected(function);
  return now_ - first->hungry_since >= cost;
}

}  // namespace dormouse::scheduling
