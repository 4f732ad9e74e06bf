// What instances are forked from: a sandbox whose worker has loaded a revision and then waits, with
// a slot for each fork. It lives for as long as scheduling wants it, or any of its forks does.
#include <spdlog/spdlog.h>

#include <algorithm>

#include "fleet/revision_files.h"
#include "fleet/shard.h"

namespace dormouse::fleet {
namespace {

constexpr std::uint64_t template_bit = std::uint64_t{1} << 62;
constexpr std::int64_t own_bytes_min = 8 << 20;

std::string seconds_text(Duration duration) {
  return std::to_string(std::chrono::duration_cast<std::chrono::seconds>(duration).count()) + " s";
}

// Siblings would talk through what they have in common, or move each other's place in a file.
Result<> refuse_inherited(const std::vector<std::string>& files) {
  if (files.empty()) return ok;
  const bool is_socket = files.front().starts_with("socket:");
  return Error{Code::function_failed,
               (is_socket ? "it holds a socket" : "it holds " + files.front() + " open") +
                   ", and so would all others: open it in after_fork, or in the handler"};
}

SharedDescriptor shared(wire::Descriptor descriptor) {
  return std::make_shared<const wire::Descriptor>(std::move(descriptor));
}

}  // namespace

asio::awaitable<Result<>> Shard::fork_one(InstanceKey key, std::filesystem::path tree) {
  const FunctionKey function = instance(key)->function;
  const TimePoint deadline =
      parts_.clock->now() + served_.at(function).revision->manifest.start_timeout;
  const bool was_there = served_.at(function).mold != InstanceKey{};
  auto finding = template_of(function, std::move(tree));
  const auto mold = co_await std::move(finding);
  if (!mold) co_return mold.error();
  const Instance* const from = instance(*mold);
  if (from == nullptr || from->stopping) {  // It ended while this one waited for it.
    co_return Error{Code::function_failed, std::string(worker_ended)};
  }
  Instance& where = *instance(key);
  where.rung = was_there ? ledger::Rung::from_template : from->rung;
  if (!was_there) where.wake = from->wake;
  auto forking = fork_into(*mold, key, deadline);
  co_return co_await std::move(forking);
}

asio::awaitable<Result<>> Shard::fork_into(InstanceKey mold, InstanceKey child,
                                           TimePoint deadline) {
  const TimePoint began = parts_.clock->now();
  Template& from = *instance(mold)->mold;
  ++from.instances;  // From here on the template stays.
  Instance& where = *instance(child);
  where.forked_from = mold;
  where.memory_bytes_max = from.each.memory_bytes_max;
  where.shared_bytes = static_cast<std::uint64_t>(from.holds.memory_bytes);
  where.worker = take_spare(from);
  if (!where.worker) {
    auto forking = fork_worker(mold, deadline);
    auto forked = co_await std::move(forking);
    if (!forked) co_return std::move(forked).error();
    Instance& now = *instance(child);
    now.worker = std::move(*forked);
    auto settling = settle(child);
    const auto settled = co_await std::move(settling);
    if (!settled) co_return settled.error();
    now.wake.load += parts_.clock->now() - began;
    if (now.stopping) co_return Error{Code::unavailable, "it was stopped while starting"};
  }
  tasks_.spawn(follow_output(child));
  instance(mold)->mold->wear.forked();
  prepare_forks(mold);
  mind_wear(mold);
  co_return ok;
}

// Calls may be given to it before it is ready, and wait in it, unless the last fork of its template
// failed there: then nothing is risked until one has succeeded, and what fails is a start, which
// keeps its distance from the next.
asio::awaitable<Result<>> Shard::settle(InstanceKey child) {
  Instance& where = *instance(child);
  const TimePoint deadline = parts_.clock->now() + options_.settling_max;
  if (instance(where.forked_from)->mold->settles) {
    where.settled = false;
    settling_.emplace_back(deadline, child);
    if (settling_.size() == 1) tasks_.spawn(mind_settling());
    co_return ok;
  }
  auto settling = where.worker->expect(parts_.clock, wire::Type::ready, deadline);
  const auto said = co_await std::move(settling);
  if (!said) co_return why_not_settled(said.error());
  instance(instance(child)->forked_from)->mold->settles = true;
  co_return ok;
}

Error Shard::why_not_settled(const Error& error) const {
  if (error.message == worker_ended) return error;  // How it ended is found out.
  const bool late = error.code == Code::deadline_exceeded;
  return {
      Code::function_failed,
      "after the fork: " + (late ? "it was not ready within " + seconds_text(options_.settling_max)
                                 : error.message)};
}

// It may not have been ready in time, or has said that it cannot be.
void Shard::fail_to_settle(InstanceKey child, const Error& error) {
  Instance& where = *instance(child);
  instance(where.forked_from)->mold->settles = false;
  break_off(child, why_not_settled(error).message);
}

asio::awaitable<void> Shard::mind_settling() {
  while (!settling_.empty()) {
    co_await parts_.clock->sleep_until(settling_.front().first);
    const Instance* const late = instance(settling_.front().second);
    const bool hangs = late != nullptr && !late->settled && !late->trial && !late->stopping;
    if (hangs) fail_to_settle(settling_.front().second, {Code::deadline_exceeded, ""});
    settling_.pop_front();
  }
}

// One that was forked beforehand, and has said nothing since it was ready.
std::unique_ptr<Worker> Shard::take_spare(Template& from) {
  while (!from.spares.empty()) {
    auto spare = std::move(from.spares.front());
    from.spares.pop_front();
    if (spare->is_silent()) return spare;
  }
  return nullptr;
}

asio::awaitable<Result<std::unique_ptr<Worker>>> Shard::fork_worker(InstanceKey mold,
                                                                    TimePoint deadline) {
  auto waiting = await_turn_to_fork(mold);
  co_await std::move(waiting);
  auto forking = fork_in_turn(mold, deadline);
  auto forked = co_await std::move(forking);
  end_turn_to_fork(mold);
  co_return forked;
}

// Until a fork is in its slot, what it takes is the template's, which has a limit of its own.
asio::awaitable<void> Shard::await_turn_to_fork(InstanceKey mold) {
  constexpr std::int32_t at_once = 4;
  Template& from = *instance(mold)->mold;
  if (from.forking < at_once) {
    ++from.forking;
    co_return;
  }
  auto turn = std::make_shared<async::OneShot<bool>>();
  from.waiting_to_fork.push_back(turn);
  auto waiting = turn->wait();
  co_await std::move(waiting);
}

// The next one that waits has the turn, or it is free.
void Shard::end_turn_to_fork(InstanceKey mold) {
  Template& from = *instance(mold)->mold;
  if (from.waiting_to_fork.empty()) {
    --from.forking;
    return;
  }
  const auto next = std::move(from.waiting_to_fork.front());
  from.waiting_to_fork.pop_front();
  next->set(true);
}

// A fork in its slot, which has been told to go. It may not yet have said that it is ready.
asio::awaitable<Result<std::unique_ptr<Worker>>> Shard::fork_in_turn(InstanceKey mold,
                                                                     TimePoint deadline) {
  if (instance(mold)->stopping) co_return Error{Code::function_failed, std::string(worker_ended)};
  auto finding = slot_of(mold);
  auto found = co_await std::move(finding);
  if (!found && instance(mold)->trial) co_return std::move(found).error().during("making a slot");
  if (!found) {
    spdlog::warn("no slot in {}: {}", instance(mold)->name, found.error().message);
    fall(mold);
    co_return Error{Code::function_failed, std::string(worker_ended)};
  }
  Instance& from = *instance(mold);
  if (from.stopping) co_return Error{Code::function_failed, std::string(worker_ended)};
  sandbox::Slot* const slot = found->get();
  sandbox::Slot::Inner inner = slot->take_inner();
  auto worker = std::make_unique<Worker>(executor_, std::move(*found));
  from.worker->post(wire::Type::fork, 0, wire::encode(wire::Fork{slot->root(), slot->uid()}),
                    {shared(std::move(inner.socket)), shared(std::move(inner.output))});
  flush(mold);
  auto waiting = worker->expect(parts_.clock, wire::Type::forked, deadline);
  const auto forked = co_await std::move(waiting);
  if (!forked) {
    // It did not fork, or its fork did not live to say so: it is not to be relied on.
    if (!instance(mold)->trial) fall(mold);
    co_return forked.error();
  }
  auto admitting = slot->admit(worker->sender());
  const auto admitted = co_await std::move(admitting);
  if (!admitted) co_return admitted.error();
  if (instance(mold)->trial) {
    const auto alone = refuse_inherited(slot->inherited_files());
    if (!alone) co_return alone.error();
  }
  const auto given = go_with_secrets(instance(mold)->secrets, *parts_.secrets);
  if (!given) co_return given.error();
  worker->post(wire::Type::go, 0, *given);
  const auto sent = worker->flush();
  if (!sent) co_return sent.error();
  co_return worker;
}

asio::awaitable<Result<std::unique_ptr<sandbox::Slot>>> Shard::slot_of(InstanceKey mold) {
  Instance& from = *instance(mold);
  auto& slots = from.mold->slots;
  if (!slots.empty()) {
    auto slot = std::move(slots.front());
    slots.pop_front();
    co_return slot;
  }
  auto making = from.worker->sandbox().make_slot(from.mold->each);
  co_return co_await std::move(making);
}

// Forks that are ready before anybody asks, and slots for further ones.
void Shard::prepare_forks(InstanceKey mold) {
  Instance& from = *instance(mold);
  if (from.stopping || !from.mold->announced || std::exchange(from.mold->preparing, true)) return;
  ++from.mold->instances;  // Neither a slot nor a fork may outlive its sandbox.
  tasks_.spawn(prepare_more(mold));
}

// Not at once: the call that took the last one would share its processor with the next fork. A new
// template has to be left alone for longer, until its memory is in huge pages: a fork made before
// that would hold on to the small ones. So does what runs in its first fork, if it wants to.
asio::awaitable<void> Shard::prepare_more(InstanceKey mold) {
  constexpr Duration let_it_run = std::chrono::milliseconds(20);
  constexpr Duration let_it_settle = std::chrono::milliseconds(150);
  const bool is_new = !std::exchange(instance(mold)->mold->prepared, true);
  const Served& served = served_.at(instance(mold)->function);
  const Duration alone = options_.runtimes.at(served.revision->manifest.runtime).left_alone;
  const Duration pause = is_new ? std::max(let_it_settle, alone) : let_it_run;
  constexpr Duration look_at_least = std::chrono::milliseconds(50);
  const TimePoint until = parts_.clock->now() + pause;
  while (parts_.clock->now() < until && !instance(mold)->stopping) {
    co_await parts_.clock->sleep_until(std::min(until, parts_.clock->now() + look_at_least));
  }
  while (!instance(mold)->stopping) {
    Template& from = *instance(mold)->mold;
    Result<> more = ok;
    if (from.spares.size() < options_.spare_forks) {
      auto adding = add_spare(mold);
      more = co_await std::move(adding);
    } else if (from.slots.size() < options_.spare_slots) {
      auto adding = add_slot(mold);
      more = co_await std::move(adding);
    } else {
      break;
    }
    if (!more) {
      spdlog::warn("{} prepares no more forks: {}", instance(mold)->name, more.error().message);
      break;
    }
  }
  instance(mold)->mold->preparing = false;
  leave_template(mold);
}

asio::awaitable<Result<>> Shard::add_spare(InstanceKey mold) {
  const TimePoint deadline = parts_.clock->now() + options_.settling_max;
  auto forking = fork_worker(mold, deadline);
  auto forked = co_await std::move(forking);
  if (!forked) co_return std::move(forked).error();
  auto settling = (*forked)->expect(parts_.clock, wire::Type::ready, deadline);
  const auto settled = co_await std::move(settling);
  Instance& from = *instance(mold);
  from.mold->settles = settled.has_value();
  if (!settled) co_return settled.error();
  if (!from.stopping) from.mold->spares.push_back(std::move(*forked));
  co_return ok;
}

asio::awaitable<Result<>> Shard::add_slot(InstanceKey mold) {
  auto making = instance(mold)->worker->sandbox().make_slot(instance(mold)->mold->each);
  auto made = co_await std::move(making);
  if (!made) co_return std::move(made).error();
  Instance& from = *instance(mold);
  if (!from.stopping) from.mold->slots.push_back(std::move(*made));
  co_return ok;
}

// ---- how a template lives ----

asio::awaitable<Result<InstanceKey>> Shard::template_of(FunctionKey function,
                                                        std::filesystem::path tree) {
  Served& served = served_.at(function);
  if (served.mold != InstanceKey{}) co_return served.mold;
  if (served.making_mold) {
    auto turn = std::make_shared<async::OneShot<Result<InstanceKey>>>();
    served.waiting_for_mold.push_back(turn);
    auto waiting = turn->wait();
    co_return co_await std::move(waiting);
  }
  served.making_mold = true;
  bool was_killed = false;
  auto making = load_template(function, tree, &was_killed);
  auto made = co_await std::move(making);
  if (!made && was_killed) {  // No fault of the function's.
    auto again = load_template(function, std::move(tree), &was_killed);
    made = co_await std::move(again);
  }
  if (made) announce(*made);
  Served& now = served_.at(function);
  now.making_mold = false;
  for (const auto& each : std::exchange(now.waiting_for_mold, {})) each->set(made);
  co_return made;
}

// `was_killed`: by somebody outside, while it loaded.
asio::awaitable<Result<InstanceKey>> Shard::load_template(FunctionKey function,
                                                          std::filesystem::path tree,
                                                          bool* was_killed) {
  const catalog::RevisionPtr revision = served_.at(function).revision;
  const TimePoint began = parts_.clock->now();
  auto taking = blanks_.take(revision->manifest.runtime);
  auto taken = co_await std::move(taking);
  if (!taken) co_return std::move(taken).error();
  const InstanceKey key{template_bit | ++templates_made_};
  auto made = std::make_unique<Instance>();
  made->function = function;
  made->name = "template-" + std::to_string(templates_made_);
  made->mold = std::make_unique<Template>(began);
  made->rung = taken->was_waiting ? ledger::Rung::blank : ledger::Rung::artefact;
  made->wake.sandbox = parts_.clock->now() - began;
  made->worker = std::move(taken->worker);
  instances_[key] = std::move(made);
  ++served_.at(function).users;
  auto loading = ask(
      key,
      {.manifest = revision->manifest, .options = revision->load_options, .tree = std::move(tree)});
  const auto said = co_await std::move(loading);
  if (said && !instance(key)->stopping) co_return key;
  Error failure = said ? Error{Code::unavailable, "it was stopped while starting"} : said.error();
  if (failure.message == worker_ended) {
    auto asking = was_killed_from_outside(key);
    *was_killed = co_await std::move(asking);
  }
  auto examining = autopsy(key, std::move(failure));
  Error why = co_await std::move(examining);
  let_go(key);
  co_return why;
}

// It has loaded: from now on instances are forked of it, and no longer of the one before it.
void Shard::announce(InstanceKey mold) {
  Instance& it = *instance(mold);
  Served& served = served_.at(it.function);
  if (served.mold != InstanceKey{}) retire(served.mold);
  tell_broke(it.function);
  const Resources declared = served.revision->manifest.resources;
  const auto bytes = static_cast<std::int64_t>(it.worker->sandbox().memory_bytes());
  // The template and what a fork has beside it are together what was declared.
  it.mold->holds = {.memory_bytes = std::min(bytes, declared.memory_bytes - own_bytes_min)};
  const Resources each = declared - it.mold->holds;
  const auto raised =
      it.worker->sandbox().set_limits(limits_of_template(served.revision->manifest));
  if (!raised) spdlog::warn("the memory limit of {}: {}", it.name, raised.error().message);
  it.mold->each = limits_of(served.revision->manifest);
  it.mold->each.memory_bytes_max = static_cast<std::uint64_t>(each.memory_bytes);
  it.mold->announced = true;
  served.mold = mold;
  tasks_.spawn(watch_template(mold));
  happen(scheduling::TemplateMade{it.function, it.mold->holds, each});
}

// Looked at whenever one is forked or crashes: what nobody uses does not wear.
void Shard::mind_wear(InstanceKey mold) {
  const TimePoint now = parts_.clock->now();
  Instance& it = *instance(mold);
  if (it.trial || it.stopping || !it.mold->announced || closing_) return;
  Served& served = served_.at(it.function);
  const Resources beside = scheduling::held(state_) + served.revision->manifest.resources;
  const bool there_is_room = beside.memory_bytes <= options_.node.memory_bytes;
  if (served.renewing || !there_is_room || !renewals_.allows(now)) return;
  if (!it.mold->wear.is_due(options_.renewal, now)) return;
  served.renewing = true;
  renewals_.begin(now);
  ++served.users;
  tasks_.spawn(renew(it.function, mold));
}

asio::awaitable<void> Shard::renew(FunctionKey function, InstanceKey worn) {
  const TimePoint began = parts_.clock->now();
  bool was_killed = false;
  auto loading = load_template(function, served_.at(function).tree, &was_killed);
  const auto made = co_await std::move(loading);
  const Duration cpu =
      made ? instance(*made)->worker->sandbox().cpu_time() : parts_.clock->now() - began;
  renewals_.end(options_.renewal, cpu);
  Served& served = served_.at(function);
  const std::string& name = served.revision->manifest.name;
  served.renewing = false;
  const bool wanted = served.mold == worn && !served.withdrawn && !closing_;
  if (made && wanted) {
    spdlog::info("the template of {} was made anew", name);
    announce(*made);
    prepare_forks(*made);
  } else if (made) {
    let_go(*made);
  } else {
    spdlog::warn("the template of {} was not made anew: {}", name, made.error().message);
  }
  --served.users;
  release(function);
}

// A template says nothing on its own: whatever there is to read is its end, or breaks the protocol.
asio::awaitable<void> Shard::watch_template(InstanceKey mold) {
  for (;;) {
    Instance* const it = instance(mold);
    if (it == nullptr) co_return;
    const auto frame = it->worker->poll();
    if (!frame || *frame) break;
    auto waiting = it->worker->readable();
    if (!co_await std::move(waiting)) co_return;
  }
  fall(mold);
}

// It ended, or is not to be relied on. Scheduling hears of it in a turn of its own: what follows
// from it must not join a turn that is about to end without being on record.
void Shard::fall(InstanceKey mold) {
  const Instance& it = *instance(mold);
  if (!it.stopping) {
    spdlog::warn("{} of {} ended", it.name, served_.at(it.function).revision->manifest.name);
  }
  const FunctionKey function = it.function;
  asio::post(executor_, [this, function] { tell_broke(function); });
  retire(mold);
}

// No more forks of it; those that there are live on.
void Shard::retire(InstanceKey mold) {
  Instance& it = *instance(mold);
  Served& served = served_.at(it.function);
  it.stopping = true;
  it.mold->clear();
  if (served.mold == mold) served.fallen = std::exchange(served.mold, {});
  let_go(mold);
}

void Shard::tell_broke(FunctionKey function) {
  const auto served = served_.find(function);
  if (served == served_.end() || std::exchange(served->second.fallen, {}) == InstanceKey{}) return;
  happen(scheduling::TemplateBroke{function});
}

void Shard::on(const scheduling::DropTemplate& wanted) {
  Served& served = served_.at(wanted.function);
  const bool stands = served.mold != InstanceKey{};
  const InstanceKey mold = std::exchange(stands ? served.mold : served.fallen, {});
  CHECK(mold != InstanceKey{});
  Instance& it = *instance(mold);
  it.stopping = true;
  it.mold->dropped = true;
  it.mold->clear();
  let_go(mold);
}

// One fork of it, or none that came to be, is gone.
void Shard::leave_template(InstanceKey mold) {
  if (mold == InstanceKey{}) return;
  --instance(mold)->mold->instances;
  let_go(mold);
}

// Ends one that takes no more forks, once those that it has are gone.
void Shard::let_go(InstanceKey mold) {
  Instance& it = *instance(mold);
  const bool wanted = it.mold->announced && !it.stopping;
  if (it.trial || wanted || it.mold->instances > 0 || std::exchange(it.mold->ending, true)) return;
  tasks_.spawn(end_template(mold));
}

asio::awaitable<void> Shard::end_template(InstanceKey mold) {
  instance(mold)->worker->sandbox().kill();
  auto dying = instance(mold)->worker->sandbox().wait();
  co_await std::move(dying);
  Instance& dead = *instance(mold);
  while (log_output(dead).any) {
  }
  const FunctionKey function = dead.function;
  const Resources holds = dead.mold->holds;
  const bool announced = dead.mold->announced;
  const bool dropped = dead.mold->dropped;
  instances_.erase(mold);
  if (announced) happen(scheduling::TemplateLost{function, holds, dropped});
  blanks_.fill();
  --served_.at(function).users;
  release(function);
}

}  // namespace dormouse::fleet
