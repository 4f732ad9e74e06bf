// How instances are forked: into slots of a template's sandbox, some of them before anybody asks.
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <ranges>

#include "fleet/shard.h"

namespace dormouse::fleet {
namespace {

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

std::string listed(const std::vector<std::string>& names) {
  std::string all = names.front();
  for (const std::string& each : names | std::views::drop(1)) all += ", " + each;
  return all;
}

// A fork would wait for threads for ever. A process would go on beside all forks, and what it takes
// be on nobody's receipt.
Error because_of(const sandbox::Slot::LeftBehind& left) {
  if (left.threads.empty()) {
    return {Code::function_failed,
            "it left a process running, which all others would share: " + listed(left.processes) +
                "; start it in after_fork, or in the handler"};
  }
  return {Code::function_failed,
          "it has threads, which a fork would not have: " + listed(left.threads)};
}

Error because_of_secret(const std::string& variable) {
  return {Code::function_failed,
          "the value of its secret " + variable +
              " is in the memory that all forks share: take it out of the code, or declare it "
              "`when: init`"};
}

// Of one template. Half of few processors are left to whoever else has calls: a burst of forks side
// by side made those wait twice as long, and was over a third sooner.
std::int32_t forks_at_once() {
  constexpr std::int64_t most = 4;
  static const auto count = std::clamp<std::int64_t>(sysconf(_SC_NPROCESSORS_ONLN) / 2, 1, most);
  return static_cast<std::int32_t>(count);
}

SharedDescriptor shared(wire::Descriptor descriptor) {
  return std::make_shared<const wire::Descriptor>(std::move(descriptor));
}

}  // namespace

asio::awaitable<Result<>> Shard::fork_one(InstanceKey key, std::filesystem::path tree) {
  const FunctionKey function = instance(key)->function;
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
  // Making the template had a limit of its own.
  const TimePoint deadline =
      parts_.clock->now() + served_.at(function).revision->manifest.start_timeout;
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

// For what calls waited in it they are not charged as if they had run. When it was ready the fork
// says itself, by the clock that it shares with us; it could as well have made its calls wait.
void Shard::has_settled(Instance& where, std::uint64_t at_us) {
  where.settled = true;
  if (at_us == 0) return;  // It does not say.
  const TimePoint said{Duration(at_us)};
  for (const CallKey each : where.running) {
    Call& it = *call(each);
    count_as_waking(it, std::clamp(said, it.timing.dispatched, parts_.clock->now()));
  }
}

void Shard::count_as_waking(Call& it, TimePoint until) {
  it.timing.wake.load += until - it.timing.dispatched;
  it.timing.dispatched = until;
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
  Template& from = *instance(mold)->mold;
  const std::int32_t at_once = from.examined ? forks_at_once() : 1;
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
  if (!admitted && admitted.error().code == Code::not_found) {
    co_return Error{Code::function_failed, std::string(worker_ended)};
  }
  if (!admitted) co_return admitted.error();
  if (!instance(mold)->mold->examined) {
    auto examining = examine(mold, slot);
    const auto alone = co_await std::move(examining);
    if (!alone) co_return alone.error();
  }
  if (is_outdated(*instance(mold))) {
    give_up(mold);
    co_return Error{Code::function_failed, std::string(worker_ended)};
  }
  const auto given = go_with_secrets(instance(mold)->secrets, *parts_.secrets);
  if (!given) co_return given.error();
  worker->post(wire::Type::go, 0, *given);
  const auto sent = worker->flush();
  if (!sent) co_return sent.error();
  co_return worker;
}

// The first fork of a template, before it is told to go. Threads that libraries end as they are
// told of a fork (pthread_atfork) are gone by then, though the kernel may have them a moment
// longer.
asio::awaitable<Result<>> Shard::examine(InstanceKey mold, const sandbox::Slot* first) {
  constexpr int looks = 6;
  constexpr Duration moment = std::chrono::milliseconds(20);
  auto alone = refuse_inherited(first->inherited_files());
  for (int i = 1; alone; ++i) {
    auto looking = first->left_behind();
    const auto left = co_await std::move(looking);
    if (!left) co_return Error{Code::function_failed, std::string(worker_ended)};
    if (left->threads.empty() && left->processes.empty()) break;
    if (i == looks) alone = because_of(*left);
    if (i < looks) co_await parts_.clock->sleep_until(parts_.clock->now() + moment);
  }
  if (alone) {
    auto searching = search_for_secrets(mold, first);
    alone = co_await std::move(searching);
  }
  Instance& it = *instance(mold);
  if (alone) it.mold->examined = true;
  if (alone || it.trial) co_return alone;
  spdlog::warn("{} is given up: {}", it.name, alone.error().message);
  give_up(mold);
  co_return alone;
}

asio::awaitable<Result<>> Shard::search_for_secrets(InstanceKey mold, const sandbox::Slot* first) {
  const auto sought = not_for_templates(instance(mold)->secrets, *parts_.secrets);
  if (sought.empty()) co_return ok;
  std::vector<std::string> variables, values;
  for (const auto& [variable, value] : sought) {
    if (std::ranges::find(values, value) != values.end()) continue;  // It is looked for once.
    variables.push_back(variable);
    values.push_back(value);
  }
  auto searching = first->values_inherited(std::move(values));
  const auto found = co_await std::move(searching);
  if (!found && found.error().code == Code::unsupported) {
    co_return Error{Code::function_failed,
                    found.error().message + ", too many to look for its late secrets in"};
  }
  if (!found) co_return Error{Code::function_failed, std::string(worker_ended)};
  if (!found->empty()) co_return because_of_secret(variables[found->front()]);
  co_return ok;
}

// A secret was set since the template was loaded: the late ones of a fork would be newer than it
// is.
bool Shard::is_outdated(const Instance& from) const {
  return !from.trial && has_late(from.secrets) &&
         from.mold->init_versions != init_versions(from.secrets, *parts_.secrets);
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

// Not at once: the call that took the last one would share its processor with the next fork, and a
// language model, which takes all of them, is to say its first word before that. A new template has
// to be left alone for longer, until its memory is in huge pages: a fork made before that would
// hold on to the small ones. So does what runs in its first fork, if it wants to.
asio::awaitable<void> Shard::prepare_more(InstanceKey mold) {
  constexpr Duration let_it_run = std::chrono::milliseconds(20);
  constexpr Duration let_it_speak = std::chrono::milliseconds(250);
  constexpr Duration let_it_settle = std::chrono::milliseconds(150);
  const bool is_new = !std::exchange(instance(mold)->mold->prepared, true);
  const Served& served = served_.at(instance(mold)->function);
  const Duration alone = options_.runtimes.at(served.revision->manifest.runtime).left_alone;
  const Duration shortly = is_language_model(*served.revision) ? let_it_speak : let_it_run;
  const Duration pause = is_new ? std::max(let_it_settle, alone) : shortly;
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
    end_renewal(mold);
    if (!more) {
      spdlog::warn("{} prepares no more forks: {}", instance(mold)->name, more.error().message);
      break;
    }
  }
  end_renewal(mold);  // It was stopped before that.
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

}  // namespace dormouse::fleet
