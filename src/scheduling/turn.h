// One step of the scheduler in progress: the state, the time, and the commands so far.
//
// calls.cc   how a call waits, begins and ends
// lives.cc   how an instance wakes, dozes, retires and is gone
// room.cc    who gets memory, and who gives it
// prospect.cc  what memory will be there before long
// templates.cc  what instances are forked from
#pragma once

#include <optional>
#include <string>

#include "scheduling/state.h"

namespace dormouse::scheduling {

class Turn {
 public:
  Turn(State::Impl& state, TimePoint now, Commands& out)
      : node_(state.node), shard_(state.shard), now_(now), out_(out) {}

  void on(const Added&);
  void on(const Withdrawn&);
  void on(const Arrived&);
  void on(const Left&);
  void on(const Woke&);
  void on(const WakeFailed&);
  void on(const Ended&);
  void on(const Broke&);
  void on(const Lost&);
  void on(const TemplateMade&);
  void on(const TemplateBroke&);
  void on(const TemplateLost&);
  void on(const Tick&);
  void on(const Closing&);

 private:
  struct Refusal {
    Error why;
    Duration retry_after;
  };

  // Gives what waits to what is free, and wakes what is worth waking. The last act of every event
  // that changed a function: it may be gone afterwards.
  void settle(Function&);
  void look_again(Function&);
  std::int64_t wanted(const Function&) const;
  std::int64_t lacking(const Function&) const;
  Demand demand(const Function&) const;

  // calls.cc
  std::optional<Refusal> refusal(const Function*, const Arrived&) const;
  std::int64_t slots_to_come(const Function&) const;
  void dispatch_queued(Function&);
  void dispatch(Call&, Instance&);
  void refuse(Call&, Error why, Duration retry_after);
  void refuse_queue(Function&, const Error& why, Duration retry_after);
  void abort(Call&, Code);
  void forget(Call&);
  void deadline_passed(Call&);

  // lives.cc
  void wake(Function&);
  void start_failed(Instance&, Error why);
  void rest(Instance&);
  void doze(Instance&);
  void stir(Instance&);
  void close(Instance&);
  void retire(Instance&);
  void stop(Instance&, Manner);
  void stop_unneeded(Function&);
  void time_passed(Instance&);

  // room.cc
  Resources room() const { return node_.total - node_.held; }
  void choose_favoured();
  bool may_take(const Function&) const;
  bool leaves_room(const Function& taker, const Function& first) const;
  Resources overtaken(const Function& by) const;
  void note_overtaking(Instance&);
  void set_hungry(Function&, bool);
  void feed();
  Function* hungriest_that_fits() const;
  void make_room(const Function& needy);
  struct Victim {
    double saving;
    Instance* instance = nullptr;  // One of the two.
    Template* mold = nullptr;
  };
  Victim least_worth_holding(const Function& needy, bool even_minimum) const;
  bool should_yield(const Instance&);

  // prospect.cc
  struct Prospect {  // For one function, of what others hold.
    Resources leaving;
    Resources busy;  // For little longer; then it yields.
    Resources idle;
  };
  Duration busy_for(const Instance&) const;
  Duration yields_after(const Instance&, const Function& needy) const;
  static bool may_lose_template(const Function&, const Function& needy);
  Prospect prospect(const Function& needy, const Function* taker = nullptr) const;
  void add_prospect(const Function&, const Function& needy, bool stays, Prospect&) const;
  bool can_have_room(const Function& needy) const;

  // templates.cc
  static Duration wake_expected(const Function&);
  void mind_template(Function&);
  Function& with_template(FunctionKey);
  void drop(Template&);
  void fall(Template&);
  void hold_less(Instance&, const Resources& each);
  void no_longer_idle(Template&);

  void set_due(Timer&, TimePoint);
  void clear_due(Timer&);

  Node& node_;
  Shard& shard_;
  TimePoint now_;
  Commands& out_;
};

inline constexpr Duration soon = std::chrono::seconds(1);

// Both fit only by what cannot be shared; CPU can.
inline bool fits(const Resources& wanted, const Resources& into) {
  return wanted.memory_bytes <= into.memory_bytes &&
         wanted.accelerator_bytes <= into.accelerator_bytes;
}

}  // namespace dormouse::scheduling
