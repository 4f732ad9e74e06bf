// What the scheduler knows. Node counts what all instances of the machine hold; Shard owns the
// functions and their lives, and takes from the grant that the node gave it. There is one shard,
// and its grant is the whole node.
#pragma once

#include <memory_resource>
#include <optional>
#include <unordered_map>

#include "scheduling/backoff.h"
#include "scheduling/chain.h"
#include "scheduling/heap.h"
#include "scheduling/scheduler.h"
#include "scheduling/wake.h"

namespace dormouse::scheduling {

struct Function;
struct Instance;

// Something is due at a time; each of these has at most one such time.
enum class Whose : std::uint8_t { call, instance, function, template_of_function };
struct Timer {
  Whose whose;
  TimePoint due{};
  Place place = 0;
};
inline bool sooner(const Timer& a, const Timer& b) {
  return a.due < b.due;
}
using Agenda = Heap<Timer, &Timer::place, sooner>;

struct Call : Timer {  // Due: its deadline.
  CallKey key;
  Function* function;
  TimePoint arrived;
  Duration run_max;              // From when it begins, which moves its deadline; 0: nothing does.
  Instance* instance = nullptr;  // nullptr: queued.
  TimePoint begun{};
  bool aborted = false;  // Answered for; the worker may still be computing.
  Link<Call> link;       // In its function's queue or its instance's calls.
};
using Calls = Chain<Call, &Call::link>;

enum class Life : std::uint8_t {
  waking,
  serving,
  retiring,  // Takes no more calls; stops when those it has end, if it is not lost before.
  stopping,  // Told to. Only Lost is left to come.
};

struct Instance : Timer {  // Due: while waking, giving up; while dozing, falling asleep.
  InstanceKey key;
  Function* function;
  Resources holds;
  std::int32_t slots;
  Life life = Life::waking;
  TimePoint since{};         // Waking: since Wake. Serving: of its last call's begin or end.
  std::int32_t running = 0;  // Without the aborted ones.
  std::int32_t aborted = 0;
  bool was_used = false;
  std::uint64_t overtook = 0;  // Woken ahead of a function that waits for room: Shard::turn.
  Calls calls;                 // Running and aborted.
  Link<Instance> sibling;      // In its function's instances.
  Link<Instance> dozing;       // In its function's dozing, longest first.
  Place open = 0;              // In its function's open.
};

// The busiest first, so that others can sleep; among equals the most recently used.
inline bool preferred(const Instance& a, const Instance& b) {
  return a.running != b.running ? a.running > b.running : a.since > b.since;
}

struct Template : Timer {  // Due: being dropped. Of a function that has no instance.
  Function* function = nullptr;
  bool stands = false;     // Instances are forked from it.
  std::int32_t count = 0;  // Of those not lost: broken ones live as long as their instances.
  Resources holds;         // Of the one that stands.
  TimePoint idle_since{};
  Link<Template> idle;  // In Shard::idle_templates.
};

struct Function : Timer {  // Due: to be looked at again.
  FunctionKey key;
  Terms terms;
  bool withdrawn = false;
  Calls queue;
  Chain<Instance, &Instance::sibling> instances;  // From Wake to Lost.
  Chain<Instance, &Instance::dozing> dozing;
  Heap<Instance, &Instance::open, preferred> open;  // Serving, with a free slot.
  std::int32_t starting = 0, serving = 0, retiring = 0, stopping = 0;
  std::int64_t slots_waking = 0, slots_serving = 0;
  std::int64_t running = 0;
  std::int64_t begun_sum_us = 0;  // Of the running calls' begins: gives their mean age.
  Learned learned;
  Template mold{{Whose::template_of_function}};
  Resources whole;  // terms.each without a template.
  Backoff backoff;
  std::int32_t unused_losses = 0;  // In a row: woke, and died without a call.
  TimePoint minimum_not_before{};  // After such losses.
  TimePoint hungry_since{};        // Key in Shard::hungry; no call was dispatched since.
  bool hungry_for_calls = false;   // False: only for its minimum.
  Duration waited_in_vain{};       // By calls that gave up; until one is dispatched.
  Place hungry = 0;                // In Shard::hungry.
  std::uint64_t overtook = 0;      // Shard::turn, of the last of its instances that did.
  Link<Function> has_dozing;       // In Shard::dozing.
};

// Who gets room first: who has calls, then who has nothing on its way, then who waits longest.
inline bool hungrier(const Function& a, const Function& b) {
  if (a.hungry_for_calls != b.hungry_for_calls) return a.hungry_for_calls;
  if ((a.starting == 0) != (b.starting == 0)) return a.starting == 0;
  if (a.hungry_since != b.hungry_since) return a.hungry_since < b.hungry_since;
  return a.key < b.key;
}

struct Node {
  Resources total;
  Resources held;
};

struct Shard {
  // Nodes of the maps are recycled: a warm call allocates nothing.
  std::pmr::unsynchronized_pool_resource memory;
  std::pmr::unordered_map<FunctionKey, Function> functions{&memory};
  std::pmr::unordered_map<InstanceKey, Instance> instances{&memory};
  std::pmr::unordered_map<CallKey, Call> calls{&memory};
  std::uint64_t instances_made = 0;
  Agenda agenda;
  bool closing = false;

  Heap<Function, &Function::hungry, hungrier> hungry;  // Would wake if there were room.
  Chain<Function, &Function::has_dozing> dozing;
  Chain<Template, &Template::idle> idle_templates;
  Resources leaving;             // Of what is retiring or stopping: room that is on its way.
  Function* favoured = nullptr;  // The hungriest that can have room before long.
  std::optional<FunctionKey> turn_of;
  std::uint64_t turn = 0;  // Counts them.
};

struct State::Impl {
  Node node;
  Shard shard;
};

}  // namespace dormouse::scheduling
