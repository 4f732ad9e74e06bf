// How calls begin and end.
#include <spdlog/spdlog.h>

#include "fleet/shard.h"

namespace dormouse::fleet {

asio::awaitable<Outcome> Shard::invoke(Invocation invocation) {
  const bool is_turn =
      !invocation.conversation.empty() && keeps_conversations(*invocation.revision);
  return is_turn ? invoke_turn(std::move(invocation))
                 : invoke_within({}, new_call(std::move(invocation)));
}

std::unique_ptr<Shard::Call> Shard::new_call(Invocation&& invocation) {
  return std::make_unique<Call>(CallKey{++calls_made_}, std::move(invocation));
}

// `caller`: the call that it is made in, and ends with; 0: none.
asio::awaitable<Outcome> Shard::invoke_within(CallKey caller, std::unique_ptr<Call> made,
                                              std::optional<conversations::State> state) {
  if (closing_) {
    co_return Outcome{.answer = Error{Code::unavailable, "the platform is stopping"},
                      .receipt = {},
                      .retry_after = std::chrono::seconds(1)};
  }
  const FunctionKey key = meant_by(made->invocation);
  if (key == FunctionKey{}) {
    co_return Outcome{.answer = Error{Code::not_found, "the function is gone"}, .receipt = {}};
  }
  Call* const outer_call = call(caller);
  if (caller != CallKey{} && (outer_call == nullptr || outer_call->over)) {
    co_return Outcome{.answer = Error{Code::cancelled, "the call that it is made in has ended"},
                      .receipt = {}};
  }
  Served& served = served_.at(key);
  catalog::RevisionPtr& asked = made->invocation.revision;
  if (asked->digest != served.revision->digest) state.reset();  // Of another one.
  asked = served.revision;
  const CallKey name = made->key;
  Call& it = *(calls_[name] = std::move(made));
  it.function = key;
  it.runtime = served.runtime;
  it.state = std::move(state);
  it.timing.accepted = it.invocation.accepted;
  ++served.users;
  const catalog::Manifest& terms = it.invocation.revision->manifest;
  const bool from_begin = it.invocation.wishes.timed_from_begin;
  // It hears why what it waited for did not start.
  const Duration patience =
      from_begin ? std::max(terms.timeout, terms.start_timeout + std::chrono::seconds(1))
                 : terms.timeout;
  it.deadline = std::min(it.timing.accepted + patience, it.invocation.deadline);
  if (outer_call != nullptr) outer_call->inner.insert(name);
  const Duration run_max = from_begin ? terms.timeout : Duration{};
  in_one_turn([&] { happen(scheduling::Arrived{name, key, it.deadline, run_max}); });
  auto waiting = it.told.wait([this, name] { leave(name); });
  co_await std::move(waiting);
  Call& told = *call(name);
  Outcome outcome = std::move(told.outcome);
  told.delivered = true;
  const bool goes_on = outcome.answer && (outcome.answer->stream || outcome.answer->lease);
  Call* const outer = call(caller);
  if (outer != nullptr && !goes_on) outer->inner.erase(name);  // A stream ends with it as well.
  if (!goes_on || told.over) forget(name);
  co_return outcome;
}

void Shard::forget(CallKey key) {
  const auto found = calls_.find(key);
  const FunctionKey function = found->second->function;
  calls_.erase(found);
  --served_.at(function).users;
  release(function);
}

// Nobody waits for it any more.
void Shard::leave(CallKey key, Error why) {
  Call* const left = call(key);
  if (left == nullptr || left->over) return;
  left->why_left = why;
  if (cancel_in_place(*left)) return;
  happen(scheduling::Left{key});
  Call* const waits = call(key);
  if (waits == nullptr || waits->over) return;
  finish(*waits, {.answer = std::move(why), .receipt = {}});
}

// A language model's worker gives a call up within a step: its instance goes on, with the others
// that run there and what it has computed. Until it says so, the call's slot is taken.
bool Shard::cancel_in_place(Call& it) {
  Instance* const where = instance(it.instance);
  const bool runs = where != nullptr && !where->stopping && where->running.contains(it.key);
  if (!runs || !it.runtime->language_models) return false;
  where->running.erase(it.key);
  where->aborted.insert(it.key);
  where->cancelling[it.key] = it.timing.dispatched;
  where->worker->post(wire::Type::cancel, static_cast<std::uint64_t>(it.key), "");
  to_flush(it.instance, *where);
  tasks_.spawn(mind_cancelling(it.instance, it.key));
  finish_attempt(it, *it.why_left);
  return true;
}

// One that does not is ended as any other is whose client left.
asio::awaitable<void> Shard::mind_cancelling(InstanceKey where, CallKey key) {
  co_await parts_.clock->sleep_until(parts_.clock->now() + options_.keep_grace);
  const Instance* const it = instance(where);
  if (it != nullptr && it->cancelling.contains(key)) happen(scheduling::Left{key});
}

// Its worker has done with it. What it printed until then is no other call's.
void Shard::end_aborted(Instance& where, CallKey key) {
  drain_output(where, nullptr);
  end_line(where, nullptr);
  where.aborted.erase(key);
  const auto since = where.cancelling.extract(key);
  const Duration run = since ? parts_.clock->now() - since.mapped() : Duration(0);
  happen(scheduling::Ended{key, run, {}});
}

// The outcome leaves at the end of the turn, after what the ledger has to say of it.
void Shard::finish(Call& it, Outcome outcome) {
  CHECK(!std::exchange(it.over, true));
  for (const CallKey each : std::exchange(it.inner, {})) {
    asio::post(executor_, [this, each] { leave(each); });
  }
  if (const Instance* const where = instance(it.instance)) give_up_passings(*where, it.key);
  count(it, outcome);
  request_turn_end();
  if (!it.settlement) return tell(it, std::move(outcome));
  it.settlement->finish(outcome.answer ? std::nullopt : std::optional(outcome.answer.error()),
                        std::move(outcome.receipt));
  to_end_.push_back(it.settlement);
  if (it.delivered) forget(it.key);
}

void Shard::tell(Call& it, Outcome outcome) {
  it.outcome = std::move(outcome);
  to_answer_.push_back(it.key);
}

Shard::Took Shard::finish_attempt(Call& it, Result<Answer> ended) {
  Instance* const where = instance(it.instance);
  it.timing.ended = parts_.clock->now();
  if (where != nullptr && !where->settled) count_as_waking(it, it.timing.ended);
  Measured measured{.shared = it.shared};
  if (where != nullptr && where->worker) {
    const sandbox::Usage& usage = recent_usage(*where, it.timing.ended);
    measured.cpu = std::max(usage.cpu_time - it.cpu_before, Duration(0));
    measured.memory_bytes_peak = usage.memory_bytes_peak + where->shared_bytes;
  }
  const std::uint64_t whole = ended ? ended->body.size() : 0;
  const std::uint64_t response_bytes = it.settlement ? it.settlement->response_bytes() : whole;
  const auto failure = ended ? std::nullopt : std::optional(ended.error().code);
  const auto made =
      std::make_shared<ledger::Receipt>(receipt(std::move(it.record), it.invocation, it.timing,
                                                measured, failure, response_bytes, options_.rates));
  ledger::Receipt& written = *made;
  if (it.settlement) written.request_bytes += it.settlement->request_bytes();
  written.tokens = it.tokens;
  // Who leaves half-way pays for what was delivered; to who stays, the rest is on its way, and what
  // has failed is said after it.
  if (it.flow) written.tokens = it.why_left ? it.flow->tokens_taken() : it.flow->tokens_counted();
  parts_.ledger->end(written);
  if (where != nullptr && where->worker) report(*where, it, written);
  const Took took{it.timing.ended - it.timing.dispatched, measured.cpu};
  finish(it, {.answer = std::move(ended), .receipt = made});
  return took;
}

// `it` may be gone then.
void Shard::run_to_its_end(Call& it, Result<Answer> ended) {
  const CallKey key = it.key;
  const Took took = finish_attempt(it, std::move(ended));
  happen(scheduling::Ended{key, took.run, took.cpu});
}

// A `result` or `failed` frame. Whatever it says about a call that is not this instance's own
// breaks the instance off, and nothing else.
void Shard::answer(InstanceKey from, const wire::Frame& frame) {
  Instance& where = *instance(from);
  const CallKey key{frame.header.handle};
  if (where.aborted.contains(key)) return end_aborted(where, key);
  if (where.running.erase(key) == 0) {
    return break_off(from, "the worker answered a call that it was not given");
  }
  Call& it = *call(key);
  if (it.hold) {
    where.running.insert(key);  // It ends with its instance.
    return break_off(from, "the worker answered a call that goes to its program");
  }
  Result<Answer> ended = Error{Code::function_failed, ""};
  if (frame.header.type == wire::Type::failed) {
    auto failure = wire::decode_failure(frame.payload);
    ended = failure
                ? Error{failure->code, std::move(failure->message), std::move(failure->document)}
                : failure.error();
  } else {
    auto said = wire::decode_answer(frame.payload);
    if (it.flow) {
      where.running.insert(key);  // It ends with its instance.
      return break_off(from, "the worker answered a call twice");
    }
    if (said && (frame.header.flags & wire::flag_streaming) != 0) {
      where.running.insert(key);  // It runs on.
      const bool is_head = !said->content.is_tensors && said->body_size == 0;
      return is_head ? begin_stream(it, std::move(*said))
                     : break_off(from, "the worker streams tensors, or a body before its stream");
    }
    ended = said ? accept(std::move(*said), it.room, options_.answer_bytes_max)
                 : std::move(said).error();
    if (!ended) {
      where.running.insert(key);  // It ends with its instance.
      return break_off(from, "the worker's answer is malformed: " + ended.error().message);
    }
  }
  run_to_its_end(it, std::move(ended));
}

// A worker with a large answer asks for a memfd to write it to, and once more if that turns out to
// be too small. Nobody waits for what was aborted: it gets none, and so its worker goes on.
void Shard::give_room(InstanceKey to, const wire::Frame& frame) {
  Instance& where = *instance(to);
  const CallKey key{frame.header.handle};
  const auto bytes = wire::decode_ask_room(frame.payload);
  const bool runs = where.running.contains(key);
  const Room had = runs ? call(key)->room : Room{};
  const bool may_ask = runs ? !had.is_second : where.aborted.contains(key);
  const bool is_more = bytes && (!had.file || *bytes > had.bytes);
  if (!may_ask || !is_more || *bytes > options_.answer_bytes_max) {
    return break_off(to, "the worker asks for room that it may not have");
  }
  auto room = runs ? make_room(*bytes) : Room{};
  std::vector<SharedDescriptor> descriptors;
  if (room && room->file) descriptors.push_back(room->file);
  where.worker->post(wire::Type::room, frame.header.handle, "", std::move(descriptors));
  to_flush(to, where);
  if (!runs) return;
  if (room) {
    room->is_second = had.file != nullptr;
    call(key)->room = std::move(*room);
    return;
  }
  where.running.erase(key);
  where.aborted.insert(key);
  finish_attempt(*call(key), std::move(room).error());
}

// Calls of one instance that end in one turn end at one time, and those that are given to it in one
// turn leave for it together, when the turn ends. Where calls run side by side, each has what the
// others took, too: a millisecond more or less of that says nothing, and reading takes its time.
bool Shard::is_recent(const Instance& where, const Reading& reading, TimePoint now) const {
  constexpr Duration beside_others = std::chrono::milliseconds(1);
  const bool is_shared = where.running.size() > 1;
  return reading.turn == turn_ || (is_shared && now - reading.at < beside_others);
}

const sandbox::Usage& Shard::recent_usage(Instance& where, TimePoint now) {
  if (is_recent(where, where.used_read, now)) return where.used;
  where.used = where.worker->sandbox().usage();
  where.used_read = {turn_, now};
  return where.used;
}

// What an instance takes between two calls that follow each other at once counts for the second.
Duration Shard::recent_cpu(Instance& where, TimePoint now) {
  constexpr Duration at_once = std::chrono::microseconds(200);
  const bool follows =
      where.running.size() == 1 && where.used_read.turn > 0 && now - where.used_read.at < at_once;
  if (follows || is_recent(where, where.used_read, now)) return where.used.cpu_time;
  if (is_recent(where, where.cpu_read, now)) return where.cpu;
  where.cpu = where.worker->sandbox().cpu_time();
  where.cpu_read = {turn_, now};
  return where.cpu;
}

void Shard::break_off(InstanceKey key, const std::string& why) {
  Instance& where = *instance(key);
  if (where.mold && !where.trial) {
    // Who still loads it sees its end; once it is announced, its forks live on.
    return where.mold->announced ? fall(key) : where.worker->sandbox().kill();
  }
  if (!where.stopping) spdlog::warn("instance {} is ended: {}", where.name, why);
  if (where.end_reason.empty()) where.end_reason = why;
  where.stopping = true;
  where.leaving = false;
  where.worker->sandbox().kill();
  shun(key);
}

// No call is given any more to an instance that is dying. Said in a turn of its own: what follows
// from it must not join a turn that is about to end without being on record.
void Shard::shun(InstanceKey key, std::optional<Error> harm) {
  asio::post(executor_, [this, key, harm = std::move(harm)] {
    const Instance* const where = instance(key);
    if (where != nullptr && where->ready && !where->trial) happen(scheduling::Broke{key, harm});
  });
}

void Shard::count(const Call& it, const Outcome& outcome) {
  const std::string& function = it.invocation.revision->manifest.name;
  if (!serving_.contains(function)) return;  // It was removed, and its counters with it.
  Counters& counters = counters_[function];
  ++counters.outcomes[outcome.answer ? "ok" : std::string(name(outcome.answer.error().code))];
  if (!outcome.receipt) return;
  const ledger::Receipt& receipt = *outcome.receipt;
  counters.queue.add(receipt.queue);
  counters.run.add(receipt.run);
  counters.tokens.prompt_read += receipt.tokens.prompt_read;
  counters.tokens.prompt_reused += receipt.tokens.prompt_reused;
  counters.tokens.generated += receipt.tokens.generated;
  if (receipt.rung == ledger::Rung::awake || receipt.rung == ledger::Rung::dozing) return;
  counters.wake_sandbox.add(receipt.wake.sandbox);
  counters.wake_code.add(receipt.wake.code);
  counters.wake_load.add(receipt.wake.load);
  counters.wakes[receipt.rung].add(receipt.wake.sandbox + receipt.wake.code + receipt.wake.load);
}

}  // namespace dormouse::fleet
