// What instances are forked from (forks.cc): a sandbox whose worker has loaded a revision and then
// waits, with a slot for each fork. It lives for as long as scheduling wants it, or any of its
// forks does.
#include <spdlog/spdlog.h>

#include <algorithm>

#include "fleet/revision_files.h"
#include "fleet/shard.h"

namespace dormouse::fleet {
namespace {

constexpr std::uint64_t template_bit = std::uint64_t{1} << 62;
constexpr std::int64_t own_bytes_min = 8 << 20;

}  // namespace

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
  const bool was_broken = served.snapshot_is_broken;
  bool was_killed = false;
  auto making = load_template(function, tree, From::snapshot, &was_killed);
  auto made = co_await std::move(making);
  const Served& after = served_.at(function);
  const bool broke = after.snapshot_is_broken && !was_broken;
  if (!made && (was_killed || broke) && !after.withdrawn &&
      !closing_) {  // Not the function's fault.
    auto again = load_template(function, std::move(tree), From::files, &was_killed);
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
                                                          std::filesystem::path tree, From from,
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
  const bool is_woken = wakes(function, from);
  auto loading = is_woken ? wake_template(key, std::move(tree))
                          : ask(key, question_of(*revision, std::move(tree)));
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
  auto bytes = static_cast<std::int64_t>(it.worker->sandbox().memory_bytes());
  if (it.rung == ledger::Rung::from_snapshot) {  // What it will hold once it was left alone.
    bytes = std::max(bytes, snapshot_bytes(*served.revision));
  }
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

// Looked at whenever one is forked or crashes, and with each call that a fork is given: what nobody
// uses does not wear.
void Shard::mind_wear(InstanceKey mold) {
  const TimePoint now = parts_.clock->now();
  Instance& it = *instance(mold);
  if (it.trial || it.stopping || !it.mold->announced || closing_) return;
  if (!it.mold->wear.is_due(options_.renewal, now)) return;
  Served& served = served_.at(it.function);
  const Resources beside = scheduling::held(state_) + served.revision->manifest.resources;
  const bool there_is_room = beside.memory_bytes <= options_.node.memory_bytes;
  if (served.renewing || !there_is_room || !renewals_.allows(now)) return;
  served.renewing = true;
  renewals_.begin(now);
  ++served.users;
  tasks_.spawn(renew(it.function, mold));
}

asio::awaitable<void> Shard::renew(FunctionKey function, InstanceKey worn) {
  const TimePoint began = parts_.clock->now();
  bool was_killed = false;
  // With addresses that no other has.
  auto loading = load_template(function, served_.at(function).tree, From::files, &was_killed);
  const auto made = co_await std::move(loading);
  Served& served = served_.at(function);
  const std::string& name = served.revision->manifest.name;
  served.renewing = false;
  const bool wanted = served.mold == worn && !served.withdrawn && !closing_;
  if (made && wanted) {
    spdlog::info("the template of {} was made anew", name);
    announce(*made);
    Template& mold = *instance(*made)->mold;
    mold.is_renewal = true;
    prepare_forks(*made);
    if (!mold.preparing) end_renewal(*made);
  } else if (made) {
    renewals_.end(options_.renewal, instance(*made)->worker->sandbox().cpu_time());
    let_go(*made);
  } else {
    renewals_.end(options_.renewal, parts_.clock->now() - began);
    spdlog::warn("the template of {} was not made anew: {}", name, made.error().message);
  }
  --served.users;
  release(function);
}

// What it does before its first fork, such as to put its memory into huge pages, is part of what
// it takes to make one; what calls do in its forks is not.
void Shard::end_renewal(InstanceKey mold) {
  const Instance& it = *instance(mold);
  if (!std::exchange(it.mold->is_renewal, false)) return;
  renewals_.end(options_.renewal, it.worker->sandbox().cpu_time());
}

// A template says nothing on its own: whatever there is to read is its end, or breaks the protocol.
asio::awaitable<void> Shard::watch_template(InstanceKey mold) {
  for (;;) {
    Instance* const it = instance(mold);
    if (it == nullptr) co_return;
    const auto frame = it->worker->poll();
    if (!frame || *frame) break;
    auto waiting = it->worker->readable();
    if (const auto [failed] = co_await std::move(waiting); failed) co_return;
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
  give_up(mold);
}

void Shard::give_up(InstanceKey mold) {
  const FunctionKey function = instance(mold)->function;
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
