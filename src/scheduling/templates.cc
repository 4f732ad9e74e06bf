// A template is there for as long as it is worth its memory: while there are instances, and for its
// keep-alive after the last one, unless others need the room. Then the function falls asleep.
#include "scheduling/turn.h"

namespace dormouse::scheduling {

// From the shallowest rung there is.
Duration Turn::wake_expected(const Function& function) {
  const bool forks = function.mold.stands;
  return forks ? function.learned.fork_expected() : function.learned.wake_expected();
}

void Turn::on(const TemplateMade& event) {
  Function& function = with_template(event.function);
  Template& mold = function.mold;
  CHECK(!mold.stands);
  mold.stands = true;
  ++mold.count;
  node_.held = node_.held + event.holds;
  mold.holds = event.holds;
  function.terms.each = event.each;
  for (Instance* i = function.instances.front(); i; i = function.instances.after(i)) {
    hold_less(*i, event.each);
  }
  settle(function);
}

void Turn::on(const TemplateBroke& event) {
  Function& function = with_template(event.function);
  fall(function.mold);
  settle(function);
}

void Turn::on(const TemplateLost& event) {
  Function& function = with_template(event.function);
  Template& mold = function.mold;
  CHECK(mold.count > 0);
  if (event.dropped) shard_.leaving = shard_.leaving - event.holds;
  node_.held = node_.held - event.holds;
  --mold.count;
  settle(function);
}

Function& Turn::with_template(FunctionKey key) {
  const auto found = shard_.functions.find(key);
  CHECK(found != shard_.functions.end());
  return found->second;
}

// No more forks of it.
void Turn::fall(Template& mold) {
  no_longer_idle(mold);
  mold.stands = false;
  mold.function->terms.each = mold.function->whole;
}

// What it shares with its template it need not hold again.
void Turn::hold_less(Instance& instance, const Resources& each) {
  const Resources less = instance.holds - each;
  if (less.memory_bytes <= 0) return;
  instance.holds = each;
  node_.held = node_.held - less;
  const bool leaves = instance.life == Life::retiring || instance.life == Life::stopping;
  if (leaves) shard_.leaving = shard_.leaving - less;
}

// After everything that may have changed who needs it.
void Turn::mind_template(Function& function) {
  Template& mold = function.mold;
  if (!mold.stands) return;
  if (!function.instances.empty() || !function.queue.empty()) return no_longer_idle(mold);
  if (shard_.closing || function.withdrawn) return drop(mold);
  if (shard_.idle_templates.holds(&mold)) return;
  mold.idle_since = now_;
  set_due(mold, now_ + function.terms.template_keep_alive);
  shard_.idle_templates.push_back(&mold);
}

void Turn::no_longer_idle(Template& mold) {
  clear_due(mold);
  if (shard_.idle_templates.holds(&mold)) shard_.idle_templates.erase(&mold);
}

void Turn::drop(Template& mold) {
  fall(mold);
  shard_.leaving = shard_.leaving + mold.holds;
  out_.push_back(DropTemplate{mold.function->key});
}

}  // namespace dormouse::scheduling
