// How much memory a hungry function may count on before long: what is idle, what is on its way, and
// what is busy for little longer. The more it has waited, the longer it may count on waiting: so
// room is kept for it for a part of that time only, and in the end for as long as calls take.
#include <algorithm>

#include "scheduling/turn.h"

namespace dormouse::scheduling {
namespace {

constexpr int part_of_waiting = 4;

// What goes on for longer than expected will, as a rule, go on for as long again.
Duration goes_on(Duration expected, Duration age) {
  return age < expected ? expected - age : age;
}

}  // namespace

Duration Turn::busy_for(const Instance& instance) const {
  const Learned& learned = instance.function->learned;
  const Duration run = learned.run_expected();
  if (instance.life == Life::waking) {
    return run + goes_on(wake_expected(*instance.function), now_ - instance.since);
  }
  Duration longest{};
  for (const Call* call = instance.calls.front(); call; call = Calls::after(call)) {
    if (call->aborted) continue;
    Duration left = goes_on(run, now_ - call->begun);
    if (learned.runs == 0) left = std::max(left, soon + Duration(1));  // Nothing says that it ends.
    longest = std::max(longest, std::min(left, call->due - now_));
  }
  return longest;
}

// Both functions pay a wake for the change, so the one that waits has to have waited as long.
Duration Turn::yields_after(const Instance& instance, const Function& needy) const {
  const Function& function = *instance.function;
  if (!function.queue.empty() && function.queue.front()->arrived <= needy.hungry_since) {
    return Duration::max();
  }
  return needy.hungry_since + wake_expected(needy) + wake_expected(function) - now_;
}

bool Turn::may_lose_template(const Function& function, const Function& needy) {
  return function.mold.stands && function.instances.empty() && hungrier(needy, function);
}

// `taker`: is about to have one more instance, for as long as which its template stays.
Turn::Prospect Turn::prospect(const Function& needy, const Function* taker) const {
  Prospect sum{.leaving = shard_.leaving};
  for (const auto& [_, instance] : shard_.instances) {
    const Function& function = *instance.function;
    if (&instance != function.instances.front()) continue;
    const bool stays = &function == &needy || &function == taker || !function.mold.stands;
    add_prospect(function, needy, stays, sum);
  }
  for (Template* t = shard_.idle_templates.front(); t; t = shard_.idle_templates.after(t)) {
    if (t->function != taker) sum.idle = sum.idle + t->holds;
  }
  for (const Function* f : shard_.hungry.elements()) {
    const bool is_counted = shard_.idle_templates.holds(&f->mold);
    if (is_counted || f == taker) continue;
    if (may_lose_template(*f, needy)) sum.idle = sum.idle + f->mold.holds;
  }
  return sum;
}

// Of one function: its template goes with the last of its instances, unless it `stays`.
void Turn::add_prospect(const Function& function, const Function& needy, bool stays,
                        Prospect& sum) const {
  const Duration in_time = std::max(soon, (now_ - needy.hungry_since) / part_of_waiting);
  const bool is_own = &function == &needy;
  Resources busy;
  for (const Instance* i = function.instances.front(); i; i = function.instances.after(i)) {
    if (i->life == Life::stopping) continue;
    if (i->life == Life::serving && i->running == 0) {
      if (!is_own) sum.idle = sum.idle + i->holds;
      continue;
    }
    const bool retires = i->life == Life::retiring;
    const Duration yields = retires ? Duration(0) : yields_after(*i, needy);
    const bool comes = std::max(busy_for(*i), yields) <= in_time;
    stays = stays || !comes;
    if (retires && !comes) sum.leaving = sum.leaving - i->holds;
    if (!retires && comes && !is_own) busy = busy + i->holds;
  }
  sum.busy = sum.busy + busy;
  if (stays) return;
  Resources& with = busy == Resources{} ? sum.idle : sum.busy;
  with = with + function.mold.holds;
}

bool Turn::can_have_room(const Function& needy) const {
  if (fits(needy.terms.each, room())) return true;
  const Prospect sum = prospect(needy);
  return fits(needy.terms.each, room() + sum.leaving + sum.busy + sum.idle);
}

}  // namespace dormouse::scheduling
