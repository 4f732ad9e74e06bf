// Who runs where, who waits, what wakes and what sleeps: a pure function of state, event and time.
//
// step() does no I/O and reads no clock. It changes the State by one event and returns the commands
// that the fleet is to carry out, in order; what came of them comes back as the next events. The
// same code runs in the daemon, in tables, in seeded simulations and over traces.
//
//   Arrived ─▶ Dispatch at once, if a slot is free (most recently used instance first)
//           └▶ queued; Wake if waking is expected sooner than waiting for a slot
//   Woke    ─▶ Dispatch from the queue
//   Ended   ─▶ Dispatch from the queue, or the instance dozes; after its keep-alive: Stop
//   Refuse  : the queue is full, the deadline passed while queued (throttled, or overloaded if
//             memory was short), the function does not start
//
// The rules are architecture §5's. Every queue is bounded; every call that arrived gets exactly one
// of Refuse or Dispatch (neither if it Left first), and every dispatched one exactly one of Ended
// (said by the fleet) or Abort.
//
// Every instance's life is Wake, at most one of Woke and WakeFailed, at most one Stop, Lost. Lost
// is the last event that names it or a call in it; until then its memory is held. Stop is said
// once: it is the fleet that kills what does not drain within its grace. Broke comes as soon as the
// fleet knows that an instance is dying, so that no call is given to it meanwhile.
//
// Events may cross commands on their way. Ignored, because of that: Left for a call that is over;
// Ended for one that was aborted (it may come or not, but not after Lost); Woke and WakeFailed for
// an instance that was told to stop; Broke for one that is not serving and did no harm; Withdrawn
// for a function that is gone; an Arrived for one is refused. Any other event that names what is
// not there is a bug: CHECK.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/resources.h"
#include "base/result.h"
#include "base/time.h"

namespace dormouse::scheduling {

// Numbers, never used twice: the fleet gives out those of functions (each is one revision) and
// calls, the scheduler those of instances, with Wake.
enum class FunctionKey : std::uint64_t {};
enum class InstanceKey : std::uint64_t {};
enum class CallKey : std::uint64_t {};

struct Terms {
  Resources each;                // What one instance holds from Wake until Lost.
  std::int32_t concurrency = 1;  // Slots of an instance.
  bool one_call = false;         // Is all that an instance takes in its life; of concurrency 1.
  std::int32_t instances_min = 0;
  std::int32_t instances_max = 16;
  std::int32_t queue_max = 1000;
  Duration keep_alive = std::chrono::seconds(60);
  // The same while there is a template, from which another instance is there in milliseconds.
  Duration keep_alive_forked = std::chrono::seconds(2);
  Duration template_keep_alive = std::chrono::minutes(10);  // After its last instance.
  Duration start_timeout = std::chrono::seconds(60);
};

// ---- events: what happened --------------------------------------------------------------------
struct Added {
  FunctionKey function;
  Terms terms;
};  // Also when its terms change.
struct Withdrawn {
  FunctionKey function;
};  // Takes no new calls; what it has is served, then it is gone.
struct Arrived {
  CallKey call;
  FunctionKey function;
  TimePoint deadline;     // To begin by, and to end by
  Duration run_max = {};  // unless it may run so long from when it begins; 0: it may not.
};
struct Left {
  CallKey call;
};  // Its client is gone.
struct Woke {
  InstanceKey instance;
  bool forked = false;  // From a template that was there.
};  // It is ready.
struct WakeFailed {
  InstanceKey instance;
  Error why;
};  // Answered by Stop kill; Lost follows.
struct Ended {
  CallKey call;
  Duration run;
  Duration cpu;
};
struct Broke {
  InstanceKey instance;
  // Why it had to be ended for everybody else's sake: none of its function starts for a while.
  std::optional<Error> harm;
};  // A serving one is ending: it takes no more calls, and Lost follows.
struct Lost {
  InstanceKey instance;
};  // Its last process is gone.
// An instance that wakes has made it. Instances are forked from now on, and each holds so much
// (`each`), as do those there are; the template holds memory of its own until it is lost, which
// together with `each` is not more than an instance held before.
struct TemplateMade {
  FunctionKey function;
  Resources holds;
  Resources each;
};
struct TemplateBroke {
  FunctionKey function;
};  // It takes no more forks, those it has live on. An instance that wakes makes another one.
struct TemplateLost {
  FunctionKey function;
  Resources holds;       // As it was made.
  bool dropped = false;  // By DropTemplate.
};
struct Tick {};     // next_tick() has come.
struct Closing {};  // Shutting down: no new calls; idle ones stop.
using Event = std::variant<Added, Withdrawn, Arrived, Left, Woke, WakeFailed, Ended, Broke, Lost,
                           TemplateMade, TemplateBroke, TemplateLost, Tick, Closing>;

// ---- commands: what the fleet is to do ----------------------------------------------------------
struct Wake {
  InstanceKey instance;
  FunctionKey function;
};
struct Dispatch {
  CallKey call;
  InstanceKey instance;
};
struct Refuse {
  CallKey call;
  Error why;
  Duration retry_after;
};  // Not begun. 0: no Retry-After.
// A begun call ends without an answer: deadline_exceeded, cancelled, or function_failed after Lost
// (then the fleet knows why the instance died). If the instance still lives, it is told to stop
// working on it, and a Stop follows unless other calls run in it.
struct Abort {
  CallKey call;
  InstanceKey instance;
  Code code;
};
enum class Manner : std::uint8_t {
  drain,
  kill
};  // drain: it is idle; asked to leave, killed after grace.
struct Stop {
  InstanceKey instance;
  Manner manner;
};
// It was idle for long, or its memory is wanted. TemplateLost follows.
struct DropTemplate {
  FunctionKey function;
};
using Command = std::variant<Wake, Dispatch, Refuse, Abort, Stop, DropTemplate>;
using Commands = std::vector<Command>;

// What can be seen of one function; for `list` and /metrics.
struct View {
  std::int32_t starting = 0, busy = 0, dozing = 0, stopping = 0;
  std::int32_t running = 0, queued = 0;
  bool waits_for_memory = false;  // What is queued would have one more instance.
  Duration wake_expected{}, run_expected{};
  std::int32_t failed_starts = 0;  // In a row.
  TimePoint next_start_at{};       // Not before, after failed ones, or harm that it did:
  std::string why;                 // this one.
  bool has_template = false;
};

class State {
 public:
  explicit State(Resources node);
  ~State();
  State(const State&) = delete;

  struct Impl;
  Impl& impl() { return *impl_; }
  const Impl& impl() const { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

void step(State&, const Event&, TimePoint now, Commands& out);  // Appends to `out`.
TimePoint next_tick(const State&);                              // `never` when nothing is pending.
View view(const State&, FunctionKey);
Resources held(const State&);

}  // namespace dormouse::scheduling
