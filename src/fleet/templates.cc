// What instances are forked from: a sandbox whose worker has loaded a revision and then waits, with
// a slot for each fork. It lives for as long as scheduling wants it, or any of its forks does.
#include <spdlog/spdlog.h>

#include <algorithm>

#include "fleet/revision_files.h"
#include "fleet/shard.h"

namespace dormouse::fleet {
namespace {

constexpr std::uint64_t template_bit = std::uint64_t{1} << 62;
constexpr std::int32_t slots_ready = 4;  // Kept waiting for forks.
constexpr std::int64_t own_bytes_min = 8 << 20;

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
  Instance& where = *instance(key);
  const Instance& from = *instance(*mold);
  where.rung = was_there ? ledger::Rung::from_template : from.rung;
  if (!was_there) where.wake = from.wake;
  auto forking = fork_into(*mold, key, deadline);
  co_return co_await std::move(forking);
}

asio::awaitable<Result<>> Shard::fork_into(InstanceKey mold, InstanceKey child,
                                           TimePoint deadline) {
  const TimePoint began = parts_.clock->now();
  ++instance(mold)->mold->instances;  // From here on the template stays.
  instance(child)->forked_from = mold;
  auto finding = slot_of(mold);
  auto found = co_await std::move(finding);
  if (!found) co_return std::move(found).error().during("making a slot");
  const TimePoint there = parts_.clock->now();
  Instance& where = *instance(child);
  Instance& from = *instance(mold);
  if (where.stopping || from.stopping) {
    co_return Error{Code::unavailable, "it was stopped while starting"};
  }
  sandbox::Slot* const slot = found->get();
  sandbox::Slot::Inner inner = slot->take_inner();
  where.worker = std::make_unique<Worker>(executor_, std::move(*found));
  where.memory_bytes_max = from.mold->each.memory_bytes_max;
  where.shared_bytes = static_cast<std::uint64_t>(from.mold->holds.memory_bytes);
  from.worker->post(wire::Type::fork, 0, wire::encode(wire::Fork{slot->root(), slot->uid()}),
                    {shared(std::move(inner.socket)), shared(std::move(inner.output))});
  flush(mold);
  tasks_.spawn(follow_output(child));
  auto waiting = where.worker->expect(parts_.clock, wire::Type::forked, deadline);
  const auto forked = co_await std::move(waiting);
  if (!forked) {
    // It did not fork, or its fork did not live to say so: it is not to be relied on.
    if (!instance(mold)->trial) fall(mold);
    co_return forked.error();
  }
  Worker& worker = *instance(child)->worker;
  const auto admitted = slot->admit(worker.sender());
  if (!admitted) co_return admitted.error();
  worker.post(wire::Type::go, 0, "");
  flush(child);
  instance(child)->wake.sandbox += there - began;
  instance(child)->wake.load += parts_.clock->now() - there;
  co_return ok;
}

asio::awaitable<Result<std::unique_ptr<sandbox::Slot>>> Shard::slot_of(InstanceKey mold) {
  Instance& from = *instance(mold);
  auto& slots = from.mold->slots;
  if (!slots.empty()) {
    auto slot = std::move(slots.front());
    slots.pop_front();
    fill_slots(mold);
    co_return slot;
  }
  auto making = from.worker->sandbox().make_slot(from.mold->each);
  auto made = co_await std::move(making);
  fill_slots(mold);
  co_return made;
}

void Shard::fill_slots(InstanceKey mold) {
  Instance& from = *instance(mold);
  if (from.stopping || !from.mold->announced) return;
  const auto have = static_cast<std::int32_t>(from.mold->slots.size()) + from.mold->slots_coming;
  for (std::int32_t i = have; i < slots_ready; ++i) {
    ++from.mold->slots_coming;
    ++from.mold->instances;  // A slot must not outlive its sandbox.
    tasks_.spawn(add_slot(mold));
  }
}

asio::awaitable<void> Shard::add_slot(InstanceKey mold) {
  auto making = instance(mold)->worker->sandbox().make_slot(instance(mold)->mold->each);
  auto made = co_await std::move(making);
  Instance& from = *instance(mold);
  --from.mold->slots_coming;
  if (made && !from.stopping) from.mold->slots.push_back(std::move(*made));
  if (!made) spdlog::warn("no slot in {}: {}", from.name, made.error().message);
  made = Error{Code::cancelled, ""};  // The slot goes before its sandbox may.
  leave_template(mold);
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
  auto making = make_template(function, tree, &was_killed);
  auto made = co_await std::move(making);
  if (!made && was_killed) {  // No fault of the function's.
    auto again = make_template(function, std::move(tree), &was_killed);
    made = co_await std::move(again);
  }
  Served& now = served_.at(function);
  now.making_mold = false;
  for (const auto& each : std::exchange(now.waiting_for_mold, {})) each->set(made);
  co_return made;
}

// `was_killed`: by somebody outside, while it loaded.
asio::awaitable<Result<InstanceKey>> Shard::make_template(FunctionKey function,
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
  made->mold = std::make_unique<Template>();
  made->rung = taken->was_waiting ? ledger::Rung::blank : ledger::Rung::artefact;
  made->wake.sandbox = parts_.clock->now() - began;
  made->worker = std::move(taken->worker);
  instances_[key] = std::move(made);
  ++served_.at(function).users;
  auto loading = ask(
      key,
      {.manifest = revision->manifest, .options = revision->load_options, .tree = std::move(tree)});
  const auto said = co_await std::move(loading);
  if (said && !instance(key)->stopping) {
    announce(key);
    co_return key;
  }
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

// It has loaded: from now on instances are forked.
void Shard::announce(InstanceKey mold) {
  Instance& it = *instance(mold);
  Served& served = served_.at(it.function);
  const Resources declared = served.revision->manifest.resources;
  const auto bytes = static_cast<std::int64_t>(it.worker->sandbox().memory_bytes());
  // The template and what a fork has beside it are together what was declared.
  it.mold->holds = {.memory_bytes = std::min(bytes, declared.memory_bytes - own_bytes_min)};
  const Resources each = declared - it.mold->holds;
  it.mold->each = limits_of(served.revision->manifest);
  it.mold->each.memory_bytes_max = static_cast<std::uint64_t>(each.memory_bytes);
  it.mold->announced = true;
  served.mold = mold;
  tasks_.spawn(watch_template(mold));
  happen(scheduling::TemplateMade{it.function, it.mold->holds, each});
  fill_slots(mold);
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

// No more forks of it; those that there are live on.
void Shard::fall(InstanceKey mold) {
  Instance& it = *instance(mold);
  if (!it.stopping) {
    spdlog::warn("{} of {} ended", it.name, served_.at(it.function).revision->manifest.name);
  }
  it.stopping = true;
  it.mold->slots.clear();
  if (served_.at(it.function).mold == mold) {
    served_.at(it.function).mold = {};
    happen(scheduling::TemplateBroke{it.function});
  }
  let_go(mold);
}

void Shard::on(const scheduling::DropTemplate& wanted) {
  Served& served = served_.at(wanted.function);
  const InstanceKey mold = std::exchange(served.mold, {});
  CHECK(mold != InstanceKey{});
  Instance& it = *instance(mold);
  it.stopping = true;
  it.mold->dropped = true;
  it.mold->slots.clear();
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
  while (log_output(dead)) {
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
