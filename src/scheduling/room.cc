// Memory is the node's hard limit. A function that finds no room is hungry; the hungriest is the
// one that has waited longest for its first call, those that gave up before it included. The
// hungriest that can have room before long (prospect.cc) is favoured: for it, idle instances of
// others are stopped, and busy ones retire once it has waited long enough for the change to pay;
// others may overtake it only within what it will leave over. One that cannot have room yet takes
// it from nobody; its turn comes when it can, before others'.
#include <algorithm>
#include <limits>

#include "scheduling/reclaim.h"
#include "scheduling/turn.h"

namespace dormouse::scheduling {

// Looks at the hungriest only: nobody is kept waiting for long while hundreds are.
constexpr int looks_max = 8;

void Turn::choose_favoured() {
  shard_.favoured = nullptr;
  Function* f = shard_.hungry.top();
  for (int looks = 0; f && f->hungry_for_calls && looks < looks_max; ++looks) {
    if (can_have_room(*f)) {
      shard_.favoured = f;
      break;
    }
    f = shard_.hungry.next(f);
  }
  if (!shard_.favoured || shard_.turn_of == shard_.favoured->key) return;
  shard_.turn_of = shard_.favoured->key;
  ++shard_.turn;
}

bool Turn::may_take(const Function& function) const {
  if (!fits(function.terms.each, room())) return false;
  const Function* first = shard_.favoured;
  if (!first || first == &function) return true;
  if (function.queue.empty()) return false;  // Its minimum gives way to calls.
  if (!leaves_room(function, *first)) return false;
  return fits(overtaken(function) + function.terms.each, node_.total - first->terms.each);
}

// Whether one more instance, and the template that stays for as long as that lives, keeps nothing
// from the favoured: neither what it is about to take nor what it counts on.
bool Turn::leaves_room(const Function& taker, const Function& first) const {
  const Resources needed = first.terms.each + taker.terms.each;
  if (fits(first.terms.each, room()) && !fits(needed, room())) return false;
  const Prospect sum = prospect(first, &taker);
  return fits(needed, room() + sum.leaving + sum.busy + sum.idle);
}

// What has been woken ahead of the favoured, in its turn, and lives, with the templates that stay
// for as long as it does; and that of one more.
Resources Turn::overtaken(const Function& by) const {
  Resources sum;
  if (by.mold.stands) sum = sum + by.mold.holds;
  for (const auto& [_, instance] : shard_.instances) {
    const Function& function = *instance.function;
    if (instance.overtook == shard_.turn) sum = sum + instance.holds;
    const bool is_first = &instance == function.instances.front();
    if (!is_first || &function == &by || !function.mold.stands) continue;
    if (function.overtook == shard_.turn) sum = sum + function.mold.holds;
  }
  return sum;
}

void Turn::note_overtaking(Instance& instance) {
  const Function* first = shard_.favoured;
  if (!first || first == instance.function) return;
  instance.overtook = shard_.turn;
  instance.function->overtook = shard_.turn;
}

void Turn::set_hungry(Function& function, bool is_hungry) {
  const bool was_hungry = shard_.hungry.holds(&function);
  const bool for_calls = !function.queue.empty();
  if (was_hungry && function.hungry_for_calls) {
    const TimePoint until = for_calls && is_hungry ? function.queue.front()->arrived : now_;
    function.waited_in_vain = std::max(Duration(0), until - function.hungry_since);
  }
  if (!is_hungry) {
    if (was_hungry) shard_.hungry.erase(&function);
    if (shard_.favoured == &function) shard_.favoured = nullptr;
    return;
  }
  if (for_calls) {
    function.hungry_since = function.queue.front()->arrived - function.waited_in_vain;
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
  choose_favoured();
  while (Function* next = hungriest_that_fits()) {
    wake(*next);
    set_hungry(*next, wanted(*next) > 0);
    choose_favoured();
  }
  if (shard_.favoured) make_room(*shard_.favoured);
}

Function* Turn::hungriest_that_fits() const {
  Function* f = shard_.hungry.top();
  for (int looks = 0; f && looks < looks_max; ++looks) {
    if (may_take(*f)) return f;
    f = shard_.hungry.next(f);
  }
  return nullptr;
}

void Turn::make_room(const Function& needy) {
  const Prospect sum = prospect(needy);
  Resources coming = sum.leaving + sum.busy;
  while (!fits(needy.terms.each, room() + coming)) {
    Victim victim = least_worth_holding(needy, false);
    if (!victim.instance && !victim.mold) victim = least_worth_holding(needy, true);
    if (!victim.instance && !victim.mold) return;
    coming = coming + (victim.instance ? victim.instance->holds : victim.mold->holds);
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
  for (Function* f : shard_.hungry.elements()) {
    if (!even_minimum || !may_lose_template(*f, needy)) continue;
    return {.saving = 0, .mold = &f->mold};  // There is nothing better.
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

// Whether a busy instance should make room instead of taking the next call.
bool Turn::should_yield(const Instance& instance) {
  if (shard_.hungry.empty() || shard_.closing) return false;
  choose_favoured();
  const Function* first = shard_.favoured;
  if (!first || first == instance.function) return false;
  if (fits(first->terms.each, room() + prospect(*first).leaving)) return false;
  return yields_after(instance, *first) <= Duration(0);
}

}  // namespace dormouse::scheduling
