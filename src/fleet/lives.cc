// How instances live: from a blank sandbox to the last process gone.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <csignal>
#include <cstring>

#include "fleet/network.h"
#include "fleet/revision_files.h"
#include "fleet/shard.h"

namespace dormouse::fleet {
namespace {

constexpr int frames_a_turn = 64;
// Of what is killed from outside while it starts, or forked of a template that a secret, which was
// set meanwhile, has made outdated.
constexpr int tries_max = 4;
// Beyond its time, for what a deploy tries out, and for a template, to say why it did not start: on
// a busy host, that takes a while. Another start is tried a second after one that failed.
constexpr Duration last_words_max = std::chrono::milliseconds(500);

// What a worker has to load in, and a fork of it to be ready: so that it can say itself what hangs.
wire::Options patience(Duration to_load, Duration to_settle) {
  const auto ms = [](Duration time) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(time).count();
    return std::to_string(std::max<std::int64_t>(left, 0));
  };
  return {{"start_ms", ms(to_load)}, {"settle_ms", ms(to_settle)}};
}

std::string mebibytes(std::uint64_t bytes) {
  return std::to_string(bytes >> 20) + " MiB";
}

std::string out_of_processes() {
  return "OutOfProcesses: the function went on making processes beyond its " +
         std::to_string(sandbox::processes_max_default);
}

std::string describe(const sandbox::Ended& ended, std::int64_t memory_bytes_max,
                     const std::string& last_line) {
  const std::string printed = last_line.empty() ? "" : "; it last printed: " + last_line;
  switch (ended.exit) {
    case sandbox::Exit::memory_limit:
      return "OutOfMemory: the function used more than its " +
             mebibytes(static_cast<std::uint64_t>(memory_bytes_max));
    case sandbox::Exit::processes_limit: return out_of_processes();
    // A sandbox's first process tells so of the program that it started.
    case sandbox::Exit::returned:
      if (ended.status > 128 && sigabbrev_np(ended.status - 128) != nullptr) {
        return describe({sandbox::Exit::crashed, ended.status}, memory_bytes_max, last_line);
      }
      return "the function's process exited with status " + std::to_string(ended.status) + printed;
    case sandbox::Exit::crashed: {
      const int number = ended.status - 128;
      const char* const name = sigabbrev_np(number);
      return "the function's process was ended by signal " + std::to_string(number) +
             (name != nullptr ? std::string(" (SIG") + name + ")" : "") + printed;
    }
    case sandbox::Exit::killed: return "the function's process was killed";
    case sandbox::Exit::untold: return "the function's process ended" + printed;
  }
  CHECK_UNREACHABLE("every Exit has words");
}

}  // namespace

void Shard::to_flush(InstanceKey key, Instance& where) {
  if (!std::exchange(where.in_flush, true)) to_flush_.push_back(key);
  request_turn_end();
}

asio::awaitable<void> Shard::wake(InstanceKey key) {
  auto rising = bring_up(key);
  const Result<> risen = co_await std::move(rising);
  Instance& where = *instance(key);
  if (risen && !where.stopping) {
    where.ready = true;
    where.ready_at = parts_.clock->now();
    where.worker->expect_calls(served_.at(where.function).revision->manifest.concurrency);
    served_.at(where.function).last_start_error.clear();
    tasks_.spawn(listen(key));
    tasks_.spawn(mourn(key));
    happen(scheduling::Woke{key, where.rung == ledger::Rung::from_template});
    co_return;
  }
  Error failure = risen ? Error{Code::unavailable, "it was stopped while starting"} : risen.error();
  auto examining = autopsy(key, std::move(failure));
  Error why = co_await std::move(examining);
  // What cannot start now did so when it was deployed: no fault of who calls it.
  if (blame(why.code) == Blame::caller) why.code = Code::function_failed;
  served_.at(instance(key)->function).last_start_error = why.message;
  happen(scheduling::WakeFailed{key, why});
  bury(key);
}

asio::awaitable<Result<>> Shard::bring_up(InstanceKey key) {
  auto finding = tree_of(instance(key)->function);
  const auto tree = co_await std::move(finding);
  if (!tree) co_return tree.error();
  for (int left = tries_max - 1;; --left) {
    auto rising = bring_up_once(key, *tree);
    const Result<> risen = co_await std::move(rising);
    if (risen || risen.error().message != worker_ended || left == 0) co_return risen;
    auto asking = was_killed_from_outside(key);
    if (!co_await std::move(asking)) co_return risen;
    // No fault of the function's, which would have to wait for its next try.
    instance(key)->worker.reset();
    leave_template(std::exchange(instance(key)->forked_from, {}));
  }
}

asio::awaitable<bool> Shard::was_killed_from_outside(InstanceKey key) {
  if (instance(key)->stopping) co_return false;
  if (!instance(key)->worker) co_return true;  // Its template ended before it forked.
  auto dying = instance(key)->worker->sandbox().wait();
  const sandbox::Ended ended = co_await std::move(dying);
  // Or may have been; or the program alone was, as the sandbox's first process tells.
  const bool killed = ended.exit == sandbox::Exit::killed || ended.exit == sandbox::Exit::untold ||
                      (ended.exit == sandbox::Exit::returned && ended.status == 128 + SIGKILL);
  co_return killed && !instance(key)->stopping;
}

asio::awaitable<Result<>> Shard::bring_up_once(InstanceKey key, std::filesystem::path tree) {
  const catalog::RevisionPtr revision = served_.at(instance(key)->function).revision;
  if (forks(*revision)) {
    auto forking = fork_one(key, std::move(tree));
    co_return co_await std::move(forking);
  }
  const TimePoint began = parts_.clock->now();
  auto taking = blanks_.take(revision->manifest.runtime);
  auto taken = co_await std::move(taking);
  if (!taken) co_return std::move(taken).error();
  Instance& where = *instance(key);
  where.wake.sandbox = parts_.clock->now() - began;
  where.rung = taken->was_waiting ? ledger::Rung::blank : ledger::Rung::artefact;
  where.worker = std::move(taken->worker);
  if (where.stopping) co_return Error{Code::unavailable, "it was stopped while starting"};
  wire::Options options = revision->load_options;
  if (listens(*revision)) options["revision"] = std::to_string(revision->number);
  auto loading =
      ask(key,
          {.manifest = revision->manifest, .options = std::move(options), .tree = std::move(tree)});
  const auto said = co_await std::move(loading);
  if (!said) co_return said.error();
  const auto ready = wire::decode_ready(*said);
  if (!ready) co_return Error{Code::function_failed, ready.error().message};
  co_return ok;
}

asio::awaitable<Result<std::filesystem::path>> Shard::tree_of(FunctionKey key) {
  const Served& served = served_.at(key);
  if (!served.tree.empty()) co_return served.tree;
  auto laying = parts_.blobs->lay_out(tree_name(*served.revision), tree_files(*served.revision));
  const auto tree = co_await std::move(laying);
  if (tree) served_.at(key).tree = *tree;
  co_return tree;
}

asio::awaitable<Result<std::string>> Shard::ask(InstanceKey key, Question question) {
  const TimePoint began = parts_.clock->now();
  const TimePoint deadline = began + question.manifest.start_timeout;
  Instance& where = *instance(key);
  Worker& worker = *where.worker;
  where.memory_bytes_max = static_cast<std::uint64_t>(question.manifest.resources.memory_bytes);
  where.secrets = std::move(question.manifest.secrets);
  tasks_.spawn(follow_output(key));
  const auto limited = worker.sandbox().set_limits(limits_of(question.manifest));
  if (!limited) co_return limited.error();
  // What is prepared comes from a model's files alone: it reaches nothing.
  const bool loads = question.type == wire::Type::load;
  if (auto reach = reach_of(question.manifest.network, question.options); reach && loads) {
    auto attaching = worker.sandbox().attach(std::move(*reach));
    const auto attached = co_await std::move(attaching);
    if (!attached) co_return Error(attached.error()).during("network");
  }
  auto revealing = worker.sandbox().reveal(std::move(question.tree));
  const auto revealed = co_await std::move(revealing);
  if (!revealed) co_return revealed.error();
  const TimePoint there = parts_.clock->now();
  instance(key)->wake.code = there - began;
  if (auto& mold = instance(key)->mold) {
    mold->init_versions = init_versions(instance(key)->secrets, *parts_.secrets);
  }
  if (loads) question.options.merge(patience(deadline - there, options_.settling_max));
  // What is prepared is kept: no secret may get there.
  const auto payload = load_with_secrets(
      std::move(question.options), loads ? instance(key)->secrets : SecretUses(), *parts_.secrets);
  if (!payload) co_return payload.error();
  worker.post(question.type, 0, *payload);
  flush(key);
  auto waiting = worker.expect(parts_.clock, question.reply, deadline + last_words_max);
  auto said = co_await std::move(waiting);
  const TimePoint loaded = parts_.clock->now();
  instance(key)->wake.load = loaded - there;
  if (said ? loaded > deadline : said.error().code == Code::deadline_exceeded) {
    const bool listens = options_.runtimes.at(question.manifest.runtime).listens;
    co_return Error{Code::function_failed,
                    listens ? "it did not listen on port 8080 ($PORT) within its start_timeout"
                            : "it was not done within its start_timeout"};
  }
  co_return said;
}

// Kills what did not start, and says why it did not: its own words, or how it ended.
asio::awaitable<Error> Shard::autopsy(InstanceKey key, Error failure) {
  Instance& where = *instance(key);
  if (!where.worker) co_return failure;
  const bool ended_itself = failure.message == worker_ended;
  if (!ended_itself) where.worker->sandbox().kill();
  auto dying = where.worker->sandbox().wait();
  const sandbox::Ended ended = co_await std::move(dying);
  Instance& dead = *instance(key);
  log_rest(dead);
  if (!ended_itself) co_return failure;
  const auto memory_bytes = static_cast<std::int64_t>(dead.memory_bytes_max);
  co_return Error{Code::function_failed,
                  "it ended while starting: " + describe(ended, memory_bytes, dead.last_line)};
}

// ---- while it lives ----

asio::awaitable<void> Shard::listen(InstanceKey key) {
  for (int heard = 0;; ++heard) {
    Instance* const where = instance(key);
    if (where == nullptr) co_return;
    const auto frame = where->worker->poll();
    if (!frame) {
      const bool gone = frame.error().code == Code::unavailable;
      if (!gone) break_off(key, "the worker broke the protocol: " + frame.error().message);
      if (gone) part_from(key);
      co_return;
    }
    if (*frame) {
      bool goes_on = true;
      in_one_turn([&] { goes_on = hear(key, **frame); });
      if (!goes_on) co_return;
      if (heard % frames_a_turn == frames_a_turn - 1) {
        co_await asio::post(executor_, asio::use_awaitable);
      }
      continue;
    }
    auto waiting = where->worker->readable();
    if (const auto [failed] = co_await std::move(waiting); failed) co_return;
  }
}

// Its worker has closed the socket. Where a first process waits for the program, that one still has
// to tell how the program ended; a fork has nobody to tell it.
void Shard::part_from(InstanceKey key) {
  constexpr Duration farewell = std::chrono::milliseconds(500);
  Instance& where = *instance(key);
  shun(key);
  if (where.forked_from != InstanceKey{}) return where.worker->sandbox().kill();
  tasks_.spawn(kill_after(key, farewell));
}

// False: the instance was broken off.
bool Shard::hear(InstanceKey key, const wire::Frame& frame) {
  Instance& where = *instance(key);
  const wire::Type type = frame.header.type;
  const bool is_an_end = type == wire::Type::result || type == wire::Type::failed;
  const bool is_of_call = (frame.header.handle & wire::call_bit) != 0;
  if (!where.settled && (is_an_end || type == wire::Type::chunk)) {
    break_off(key, "the worker broke the protocol: an answer before it was ready");
  } else if (is_an_end) {
    answer(key, frame);
  } else if (type == wire::Type::chunk) {
    chunk(key, frame);
  } else if (type == wire::Type::ask_room) {
    ask_room(key, frame);
  } else if (type == wire::Type::call) {
    begin_inner_call(key, frame);
  } else if (type == wire::Type::init_failed && !where.settled) {
    const auto failure = wire::decode_failure(frame.payload);
    fail_to_settle(key, failure ? Error{failure->code, failure->message} : failure.error());
  } else if (type == wire::Type::ready && !where.settled) {
    has_settled(where, frame.header.handle);
  } else if (type == wire::Type::keep) {
    keep_conversation(key, frame);
  } else if (type == wire::Type::stats) {
    stats(key, frame);
  } else if (type == wire::Type::credit && is_of_call) {
    credit_passing(key, frame);
  } else if (type == wire::Type::cancel && is_of_call) {
    leave_passing(key, frame);
  } else {
    break_off(key, "the worker broke the protocol: a frame that it may not send");
  }
  return !where.stopping || where.leaving || is_an_end;
}

void Shard::ask_room(InstanceKey key, const wire::Frame& frame) {
  if ((frame.header.handle & wire::call_bit) != 0) return give_call_room(key, frame);
  if ((frame.header.handle & wire::keep_bit) != 0) return give_keep_room(key, frame);
  give_room(key, frame);
}

void Shard::flush(InstanceKey key) {
  Instance* const where = instance(key);
  if (where == nullptr || !where->worker) return;
  where->in_flush = false;
  if (where->writing && !where->worker->does_not_read()) return;
  const auto left = where->worker->flush();
  if (!left) return break_off(key, left.error().message);
  if (*left) {
    where->writing = true;
    tasks_.spawn(write_rest(key));
  }
}

asio::awaitable<void> Shard::write_rest(InstanceKey key) {
  for (;;) {
    Instance* where = instance(key);
    if (where == nullptr) co_return;
    auto waiting = where->worker->writable();
    if (const auto [failed] = co_await std::move(waiting); failed) co_return;
    where = instance(key);
    if (where == nullptr) co_return;
    const auto left = where->worker->flush();
    if (left && *left) continue;
    where->writing = false;
    if (!left) break_off(key, left.error().message);
    co_return;
  }
}

// For as long as it works, and a second longer: calls may follow, or what the last one left behind.
asio::awaitable<void> Shard::mind_forks(InstanceKey key) {
  constexpr Duration rest_min = std::chrono::seconds(1);
  TimePoint worked = parts_.clock->now();
  for (Duration pause = Worker::look_first;;) {
    co_await parts_.clock->sleep_until(parts_.clock->now() + pause);
    Instance* const where = instance(key);
    if (where == nullptr) co_return;
    const TimePoint now = parts_.clock->now();
    if (!where->running.empty()) worked = now;
    if (now - worked > rest_min) {
      where->minded = false;
      co_return;
    }
    const auto next = where->worker->sandbox().mind_forks(now);
    if (!next) co_return hold_back(key);
    pause = *next;
  }
}

// It is being ended for everybody else's sake.
void Shard::hold_back(InstanceKey key) {
  const Error why{Code::unavailable,
                  "an instance of it was ended (" + out_of_processes() +
                      "): the next one keeps its distance, which grows up to a minute"};
  shun(key, why);
}

// ---- and when it ends ----

asio::awaitable<void> Shard::mourn(InstanceKey key) {
  auto dying = instance(key)->worker->sandbox().wait();
  const sandbox::Ended ended = co_await std::move(dying);
  hear_farewell(key);
  Instance& dead = *instance(key);
  log_rest(dead);
  const auto& manifest = served_.at(dead.function).revision->manifest;
  if (dead.end_reason.empty()) {
    dead.end_reason = describe(ended, manifest.resources.memory_bytes, dead.last_line);
  }
  if (ended.exit == sandbox::Exit::memory_limit || ended.exit == sandbox::Exit::processes_limit) {
    const std::string lost = std::to_string(dead.running.size()) + " of its calls ended with it";
    log_line(dead, only_call(dead, nullptr), dead.end_reason + "; " + lost);
  }
  const bool crashed = ended.exit == sandbox::Exit::crashed ||
                       (ended.exit == sandbox::Exit::untold && !dead.stopping);
  if (crashed && dead.forked_from != InstanceKey{}) {
    instance(dead.forked_from)->mold->wear.crashed(parts_.clock->now());
    mind_wear(dead.forked_from);
  }
  bury(key);
}

asio::awaitable<void> Shard::kill_after(InstanceKey key, Duration grace) {
  co_await parts_.clock->sleep_until(parts_.clock->now() + grace);
  Instance* const where = instance(key);
  if (where != nullptr) where->worker->sandbox().kill();
}

void Shard::bury(InstanceKey key) {
  const FunctionKey function = instance(key)->function;
  const InstanceKey mold = instance(key)->forked_from;
  const bool trial = instance(key)->trial;
  if (!trial) happen(scheduling::Lost{key});
  give_up_passings(*instance(key));
  instances_.erase(key);
  leave_template(mold);
  blanks_.fill();
  if (trial) return;
  --served_.at(function).users;
  release(function);
}

}  // namespace dormouse::fleet
