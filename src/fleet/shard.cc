#include "fleet/shard.h"
#include "fleet/report.h"

#include <spdlog/spdlog.h>

#include <algorithm>

namespace dormouse::fleet {

Shard::Shard(asio::any_io_executor executor, Parts parts, Options options)
    : executor_(executor),
      parts_(parts),
      options_(std::move(options)),
      state_(options_.node),
      tasks_(executor),
      blanks_(executor, parts.clock, parts.launcher, &tasks_, &options_.runtimes) {
  blanks_.fill();
}

Shard::~Shard() = default;

std::unique_ptr<Fleet> make_fleet(asio::any_io_executor executor, Parts parts, Options options) {
  return std::make_unique<Shard>(std::move(executor), parts, std::move(options));
}

void Histogram::add(Duration took) {
  for (std::size_t i = 0; i < std::size(bounds); ++i) at_most[i] += took <= bounds[i];
  ++count;
  sum += took;
}

void Recent::add(Duration took) {
  last_[count_++ % last_.size()] = took;
}

Duration Recent::median() const {
  const auto known = static_cast<std::ptrdiff_t>(std::min<std::uint64_t>(count_, last_.size()));
  if (known == 0) return {};
  auto sorted = last_;
  const auto middle = sorted.begin() + known / 2;
  std::nth_element(sorted.begin(), middle, sorted.begin() + known);
  return *middle;
}

Shard::Call* Shard::call(CallKey key) {
  const auto found = calls_.find(key);
  return found == calls_.end() ? nullptr : found->second.get();
}

Shard::Instance* Shard::instance(InstanceKey key) {
  const auto found = instances_.find(key);
  return found == instances_.end() ? nullptr : found->second.get();
}

const Runtime& runtime_of(const std::map<std::string, Runtime>& runtimes, const std::string& name) {
  static const Runtime lost;
  const auto found = runtimes.find(name);
  return found == runtimes.end() ? lost : found->second;
}

FunctionKey Shard::serving(const std::string& function) const {
  const auto found = serving_.find(function);
  return found == serving_.end() ? FunctionKey{} : found->second;
}

catalog::RevisionPtr Shard::serves(const std::string& function) const {
  const auto found = served_.find(serving(function));
  return found == served_.end() ? nullptr : found->second.revision;
}

// `removed`: its function is gone.
void Shard::withdraw(FunctionKey key, bool removed) {
  served_.at(key).withdrawn = true;
  served_.at(key).removed = removed;
  happen(scheduling::Withdrawn{key});
  release(key);
}

FunctionKey Shard::add(catalog::RevisionPtr revision, bool serves) {
  const catalog::Manifest& manifest = revision->manifest;
  if (!options_.runtimes.contains(manifest.runtime)) {
    spdlog::warn("{} cannot be called: this node has no runtime {} any more", manifest.name,
                 manifest.runtime);
  }
  blanks_.expect(manifest.runtime);
  const Duration template_keep_alive =
      serves ? manifest.template_keep_alive
             : std::min(manifest.template_keep_alive, manifest.keep_alive);
  const FunctionKey key{++functions_made_};
  served_[key] = {.revision = revision,
                  .runtime = &runtime_of(options_.runtimes, manifest.runtime)};
  happen(scheduling::Added{key,
                           {.each = manifest.resources,
                            .concurrency = manifest.concurrency,
                            .one_call = manifest.reuse == catalog::reuse_clean,
                            .instances_min = serves ? manifest.instances_min : 0,
                            .instances_max = manifest.instances_max,
                            .queue_max = manifest.queue_max,
                            .keep_alive = manifest.keep_alive,
                            .keep_alive_forked = options_.keep_alive_forked,
                            .template_keep_alive = template_keep_alive,
                            .start_timeout = manifest.start_timeout}});
  return key;
}

void Shard::serve(const std::string& function, catalog::RevisionPtr revision) {
  const FunctionKey before = serving(function);
  if (before != FunctionKey{}) {
    serving_.erase(function);
    const std::string& tenant = served_.at(before).revision->tenant;
    if (!revision) parts_.conversations->drop_function(tenant, function);
    withdraw(before, !revision);
  }
  if (!revision) {
    for (const auto& [_, key] : beside_[function]) withdraw(key, true);
    beside_.erase(function);
    counters_.erase(function);
    return;
  }
  retire(function, revision->number);
  serving_[function] = add(std::move(revision), true);
}

void Shard::retire(const std::string& function, std::int32_t number) {
  const auto found = beside_.find(function);
  if (found == beside_.end() || !found->second.contains(number)) return;
  const FunctionKey key = found->second.at(number);
  found->second.erase(number);
  if (found->second.empty()) beside_.erase(found);
  withdraw(key, false);
}

// 0: its function is gone. What is called exactly is there from its first call on.
FunctionKey Shard::meant_by(const Invocation& it) {
  const std::string& function = it.revision->manifest.name;
  const FunctionKey serves = serving(function);
  if (!it.wishes.exactly || serves == FunctionKey{}) return serves;
  if (served_.at(serves).revision->number == it.revision->number) return serves;
  FunctionKey& key = beside_[function][it.revision->number];
  if (key == FunctionKey{}) key = add(it.revision, false);
  return key;
}

// Forgets a withdrawn revision once no call and no instance is left of it.
void Shard::release(FunctionKey key) {
  const auto found = served_.find(key);
  if (found != served_.end() && found->second.withdrawn && found->second.users == 0) {
    served_.erase(found);
  }
}

// ---- events and commands ----

void Shard::happen(scheduling::Event event) {
  events_.push_back(std::move(event));
  if (stepping_) return;
  stepping_ = true;
  while (!events_.empty()) {
    const scheduling::Event next = std::move(events_.front());
    events_.pop_front();
    commands_.clear();
    stepped_at_ = parts_.clock->now();
    scheduling::step(state_, next, stepped_at_, commands_);
    for (const scheduling::Command& command : commands_) carry_out(command);
  }
  stepping_ = false;
  arm(scheduling::next_tick(state_));
  request_turn_end();
}

void Shard::carry_out(const scheduling::Command& command) {
  std::visit([this](const auto& each) { on(each); }, command);
}

void Shard::on(const scheduling::Wake& wanted) {
  auto made = std::make_unique<Instance>();
  made->function = wanted.function;
  made->name = std::to_string(static_cast<std::uint64_t>(wanted.instance));
  made->wake_began = parts_.clock->now();
  instances_[wanted.instance] = std::move(made);
  ++served_.at(wanted.function).users;
  to_wake_.push_back(wanted.instance);
  if (to_wake_.size() == 1) tasks_.spawn(begin_wakes());
}

// One a turn of the loop, so that a hundred at once hold nobody else up for long.
asio::awaitable<void> Shard::begin_wakes() {
  while (!to_wake_.empty()) {
    tasks_.spawn(wake(to_wake_.front()));
    co_await asio::post(executor_, asio::use_awaitable);
    to_wake_.pop_front();
  }
}

void Shard::on(const scheduling::Dispatch& wanted) {
  Call* const it = call(wanted.call);
  Instance* const where = instance(wanted.instance);
  CHECK(it != nullptr && where != nullptr && where->ready);
  it->instance = wanted.instance;
  it->timing.dispatched = stepped_at_;
  if (it->invocation.wishes.timed_from_begin) {
    it->deadline = it->timing.dispatched + it->invocation.revision->manifest.timeout;
  }
  const bool waited = where->fresh && it->timing.accepted < where->ready_at;
  if (waited) it->timing.wake = where->wake;
  it->timing.rung = waited                   ? where->rung
                    : where->running.empty() ? ledger::Rung::dozing
                                             : ledger::Rung::awake;
  it->begun = true;
  it->record = begun(it->invocation, options_.node_name, parts_.clock->wall());
  parts_.ledger->begin(it->record);
  if (where->running.empty()) end_line(*where, nullptr);
  if (reports(*it)) log_line(*where, it, start_line(it->record));
  where->fresh = false;
  where->last_line.clear();  // Another call's is not this one's to know.
  where->running.insert(wanted.call);
  if (!std::exchange(where->minded, true)) tasks_.spawn(mind_forks(wanted.instance));
  if (where->forked_from != InstanceKey{}) mind_wear(where->forked_from);
  if (where->running.size() > 1) {
    for (const CallKey each : where->running) call(each)->shared = true;
  }
  it->cpu_before = recent_cpu(*where, stepped_at_);
  if (it->runtime->listens) {
    lease(*it, wanted.instance);
    return to_flush(wanted.instance, *where);
  }
  auto ordered = order(it->invocation, {.handle = static_cast<std::uint64_t>(wanted.call),
                                        .until_deadline = it->deadline - it->timing.dispatched,
                                        .answer_bytes_max = options_.answer_bytes_max});
  if (!ordered) {
    where->running.erase(wanted.call);
    finish_attempt(*it, std::move(ordered).error());
    return happen(scheduling::Ended{wanted.call, {}, {}});
  }
  if (it->runtime->keeps_conversations) hand_over_conversation(*it, *where);
  if (const std::string& said = it->invocation.wishes.client_context; !said.empty()) {
    where->worker->post(wire::Type::context, static_cast<std::uint64_t>(it->key), said);
  }
  where->worker->post(wire::Type::invoke, 0, ordered->payload, std::move(ordered->descriptors));
  to_flush(wanted.instance, *where);
}

void Shard::on(const scheduling::Refuse& wanted) {
  Call* const it = call(wanted.call);
  if (it == nullptr || it->over) return;
  finish(*it, {.answer = wanted.why, .receipt = {}, .retry_after = wanted.retry_after});
}

void Shard::on(const scheduling::Abort& wanted) {
  Call* const it = call(wanted.call);
  Instance* const where = instance(wanted.instance);
  if (it == nullptr || it->over) return;
  const bool ran = where != nullptr && where->worker && where->running.erase(wanted.call) > 0;
  if (ran && !it->hold) {
    where->aborted.insert(wanted.call);
    where->worker->post(wire::Type::cancel, static_cast<std::uint64_t>(wanted.call), "");
    to_flush(wanted.instance, *where);
  }
  const bool is_free = ran && it->hold && wanted.code != Code::function_failed;
  finish_attempt(*it, why_aborted(*it, where, wanted.code));
  // Its connection is shut, so nothing of it is left in the program.
  if (is_free) happen(scheduling::Ended{wanted.call, {}, {}});
}

Error Shard::why_aborted(const Call& it, const Instance* where, Code code) {
  if (code == Code::cancelled && it.why_left) return *it.why_left;
  if (code == Code::deadline_exceeded) return {code, "the function ran past its timeout"};
  const bool by_us = where != nullptr && where->ended_by_us;
  return {by_us ? Code::unavailable : code,
          (where != nullptr ? where->end_reason : "the instance ended") +
              " (the invocation may have run)"};
}

void Shard::on(const scheduling::Stop& wanted) {
  Instance* const where = instance(wanted.instance);
  if (where == nullptr) return;
  where->stopping = true;
  if (where->end_reason.empty()) where->end_reason = "the instance was stopped";
  if (!where->worker) return;  // wake() sees it, and ends.
  const bool keeps = where->ready && keeps_conversations(*served_.at(where->function).revision);
  const bool kills = wanted.manner == scheduling::Manner::kill;
  if (kills && !keeps) return where->worker->sandbox().kill();
  where->leaving = true;
  where->worker->post(wire::Type::drain, 0, "");
  to_flush(wanted.instance, *where);
  const bool has_time = keeps && !kills;
  tasks_.spawn(kill_after(wanted.instance, has_time ? options_.keep_grace : options_.drain_grace));
}

// ---- turns and ticks ----

void Shard::request_turn_end() {
  if (turn_end_requested_) return;
  turn_end_requested_ = true;
  if (!gathering_) post_turn_end();
}

void Shard::post_turn_end() {
  asio::post(executor_, [this, since = parts_.clock->now()] {
    loop_lag_max_ = std::max(loop_lag_max_, parts_.clock->now() - since);
    end_turn();
  });
}

void Shard::end_turn() {
  turn_end_requested_ = false;
  ++turn_;
  if (parts_.ledger->needs_flush()) {
    const auto written = parts_.ledger->flush();
    if (!written) abandon_turn(written.error());
  }
  for (const InstanceKey key : std::exchange(to_flush_, {})) flush(key);
  for (const CallKey key : std::exchange(to_answer_, {})) {
    if (Call* const it = call(key)) it->told.set(true);
  }
  for (const auto& flow : std::exchange(to_end_, {})) flow->end();
}

// The record of this turn could not be written: what depends on it does not happen. Calls about to
// be dispatched die with their instances, and answers that would not be on record are withheld.
void Shard::abandon_turn(const Error& why) {
  spdlog::error("the ledger could not be written, so nothing runs: {}", why.message);
  for (const InstanceKey key : std::exchange(to_flush_, {})) {
    Instance* const where = instance(key);
    if (where == nullptr) continue;
    where->in_flush = false;
    where->ended_by_us = true;
    break_off(key, "the ledger could not be written");
  }
  for (const auto& flow : to_end_) flow->withhold({Code::unavailable, why.message});
  for (const CallKey key : to_answer_) {
    Call* const it = call(key);
    if (it != nullptr && it->hold) it->hold->bar();
    if (it == nullptr || !it->outcome.receipt) continue;
    it->outcome = {.answer = Error{Code::unavailable, "the ledger could not be written: the " +
                                                          std::string("invocation may have run")},
                   .receipt = {},
                   .retry_after = std::chrono::seconds(1)};
  }
}

void Shard::arm(TimePoint when) {
  if (when == never || (!armed_.empty() && *armed_.begin() <= when)) return;
  armed_.insert(when);
  tasks_.spawn(tick_at(when));
}

asio::awaitable<void> Shard::tick_at(TimePoint when) {
  co_await parts_.clock->sleep_until(when);
  armed_.erase(armed_.find(when));
  happen(scheduling::Tick{});
}

// ---- what can be seen ----

Status Shard::status(const std::string& function) const {
  const FunctionKey key = serving(function);
  if (key == FunctionKey{}) return {};
  const scheduling::View seen = scheduling::view(state_, key);
  const bool kept_back =
      parts_.clock->now() < seen.next_start_at && seen.starting + seen.busy + seen.dozing == 0;
  Status status{.has_template = seen.has_template,
                .waits_for_memory = seen.waits_for_memory,
                .snapshot_is_stale = lacks_snapshot(served_.at(key)),
                .kept_back = kept_back,
                .wake_expected = seen.wake_expected,
                .last_start_error = kept_back ? seen.why : served_.at(key).last_start_error};
  std::set<FunctionKey> revisions{key};
  if (const auto others = beside_.find(function); others != beside_.end()) {
    for (const auto& [_, each] : others->second) revisions.insert(each);
  }
  for (const FunctionKey each : revisions) add_to(&status, scheduling::view(state_, each));
  for (const auto& [_, each] : instances_) {
    if (each->worker && revisions.contains(each->function)) {
      status.memory_bytes += each->worker->sandbox().memory_bytes();
    }
  }
  return status;
}

void Shard::add_to(Status* all, const scheduling::View& seen) {
  all->starting += seen.starting;
  all->busy += seen.busy;
  all->dozing += seen.dozing;
  all->stopping += seen.stopping;
  all->running += seen.running;
  all->queued += seen.queued;
}

const sandbox::Sandbox* Shard::sandbox_of_template(const std::string& function) const {
  const auto served = served_.find(serving(function));
  if (served == served_.end() || served->second.mold == InstanceKey{}) return nullptr;
  return &instances_.at(served->second.mold)->worker->sandbox();
}

const sandbox::Sandbox* Shard::some_instance_of(const std::string& function) const {
  const FunctionKey key = serving(function);
  const sandbox::Sandbox* spare = nullptr;
  for (const auto& [_, each] : instances_) {
    if (each->function != key || each->trial) continue;
    if (each->ready && !each->stopping) return &each->worker->sandbox();
    if (each->mold && !each->mold->spares.empty()) spare = &each->mold->spares.front()->sandbox();
  }
  return spare;
}

asio::awaitable<Details> Shard::details(std::string function) const {
  Details all;
  const auto counted = counters_.find(function);
  if (counted != counters_.end()) all.wakes = counted->second.wakes;
  if (const auto* it = sandbox_of_template(function)) {
    auto reading = it->pages();
    all.of_template = co_await std::move(reading);
  }
  if (const auto* it = some_instance_of(function)) {
    auto reading = it->pages();
    all.of_instance = co_await std::move(reading);
  }
  co_return all;
}

Snapshot Shard::snapshot() {
  Snapshot all{.counters = counters_,
               .blanks = blanks_.waiting(),
               .loop_lag_max = std::exchange(loop_lag_max_, {})};
  for (const auto& [name, _] : serving_) all.functions[name] = status(name);
  return all;
}

void Shard::end_calls() {
  std::vector<CallKey> left;
  for (const auto& [key, _] : calls_) left.push_back(key);
  for (const CallKey key : left) {
    leave(key, {Code::unavailable, "the platform is stopping (the invocation may have run)"});
  }
}

asio::awaitable<void> Shard::drain(Duration grace) {
  constexpr Duration look_again = std::chrono::milliseconds(10);
  closing_ = true;
  happen(scheduling::Closing{});
  blanks_.clear();
  const TimePoint until = parts_.clock->now() + grace;
  while (!calls_.empty() && parts_.clock->now() < until) {
    co_await parts_.clock->sleep_until(parts_.clock->now() + look_again);
  }
  end_calls();
  auto keeping = let_keep();
  co_await std::move(keeping);
  for (const auto& [_, each] : instances_) {
    each->stopping = true;
    if (each->end_reason.empty()) each->end_reason = "the platform is stopping";
    if (each->worker) each->worker->sandbox().kill();
  }
  while (!instances_.empty() || !calls_.empty()) {
    co_await parts_.clock->sleep_until(parts_.clock->now() + look_again);
  }
  tasks_.cancel();
  co_await tasks_.join();
}

}  // namespace dormouse::fleet
