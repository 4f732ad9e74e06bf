// The Fleet of one executor: all that is alive, and the loop of events and commands around
// scheduling::step(). Only fleet's own files include this.
//
// A turn: events change the scheduler's state, its commands change what is here and only note what
// is to leave (frames, answers). At the end of the turn the ledger's batch is written, and only
// then frames and answers leave.
#pragma once

#include <boost/asio/post.hpp>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "async/one_shot.h"
#include "async/task_group.h"
#include "async/thread.h"
#include "fleet/attempt.h"
#include "fleet/blanks.h"
#include "fleet/fleet.h"
#include "fleet/flow.h"
#include "fleet/hold.h"
#include "fleet/passing.h"
#include "fleet/renewal.h"
#include "fleet/revision_secrets.h"
#include "fleet/worker.h"
#include "scheduling/scheduler.h"

namespace dormouse::fleet {

using scheduling::CallKey;
using scheduling::FunctionKey;
using scheduling::InstanceKey;

class Shard final : public Fleet {
 public:
  Shard(asio::any_io_executor, Parts, Options);
  ~Shard() override;

  asio::awaitable<Outcome> invoke(Invocation) override;
  asio::awaitable<Result<catalog::Draft>> try_out(catalog::Draft, Witness) override;
  void serve(const std::string& function, catalog::RevisionPtr) override;
  catalog::RevisionPtr serves(const std::string& function) const override;
  void retire(const std::string& function, std::int32_t number) override;
  Status status(const std::string& function) const override;
  asio::awaitable<Details> details(std::string function) const override;
  Snapshot snapshot() override;
  const std::map<std::string, Runtime>& runtimes() const override { return options_.runtimes; }
  void end_calls() override;
  asio::awaitable<void> drain(Duration grace) override;

  // For a Stream: its reader took so many bytes; its reader is gone.
  void grant(CallKey, std::size_t bytes);
  void leave(CallKey, Error why = {Code::cancelled, "the client went away"});

  // For a Lease.
  asio::awaitable<Result<http::Upstream*>> connect(std::shared_ptr<Hold>, bool anew);
  asio::awaitable<void> await_death(std::shared_ptr<Hold>);
  void let_go(CallKey, std::optional<Error> failure);
  void keep_connection(Hold&);

 private:
  struct Served {  // One revision, from serve() until nothing of it is left.
    catalog::RevisionPtr revision;
    const Runtime* runtime = nullptr;  // Its own.
    std::filesystem::path tree;        // Empty until it was laid out.
    bool withdrawn = false;
    bool removed = false;    // Withdrawn, and nothing came in its place.
    std::int32_t users = 0;  // Calls, instances, templates.
    std::string last_start_error;
    InstanceKey mold{};    // The template that instances are forked from; 0: none.
    InstanceKey fallen{};  // What it was until just now: scheduling is about to hear of it.
    bool making_mold = false;
    bool snapshot_is_stale = false;   // It was not woken when it was to be;
    bool snapshot_is_broken = false;  // and whoever tried ended.
    bool renewing = false;
    std::vector<std::shared_ptr<async::OneShot<Result<InstanceKey>>>> waiting_for_mold;
  };

  struct Call {
    Call(CallKey named, Invocation&& of) : key(named), invocation(std::move(of)) {}
    CallKey key;
    Invocation invocation;
    FunctionKey function{};
    const Runtime* runtime = nullptr;
    InstanceKey instance{};
    Timing timing;
    Duration cpu_before{};
    TimePoint deadline{};
    std::set<CallKey> inner;        // Calls that it made, and that run.
    std::optional<Error> why_left;  // Once somebody has left it.
    bool begun = false;
    bool shared = false;
    bool over = false;       // Its outcome is on the way: nothing more may end it.
    bool delivered = false;  // invoke() has returned: the rest is a Stream's.
    ledger::Begun record;
    ledger::Tokens tokens;                      // Until there is a flow.
    std::optional<conversations::State> state;  // That its conversation was left in.
    Room room;
    Outcome outcome{.answer = Answer{}, .receipt = {}};
    async::OneShot<bool> told;               // The outcome is there.
    std::shared_ptr<Flow> flow;              // Of a streamed answer, from its head on.
    std::shared_ptr<Hold> hold;              // Of one under a lease.
    std::shared_ptr<Settlement> settlement;  // Whichever of them there is.
  };

  struct Template {
    std::deque<std::unique_ptr<Worker>> spares;        // Forked beforehand, and ready.
    std::deque<std::unique_ptr<sandbox::Slot>> slots;  // Made beforehand.
    explicit Template(TimePoint now) : wear(now) {}
    Wear wear;
    bool settles = true;  // The last fork that said whether it was ready was, as far as is known.
    bool preparing = false;
    bool prepared = false;     // Spares were made before.
    bool is_renewal = false;   // What it takes until its first fork waits counts as one's.
    bool examined = false;     // A fork of it lacks nothing, and shares no file and no late secret.
    std::int32_t forking = 0;  // Asked for, and not yet in its slot: counted as the template's own.
    std::deque<std::shared_ptr<async::OneShot<bool>>> waiting_to_fork;
    std::int32_t instances = 0;  // Forked from it, and not gone.
    bool announced = false;      // To scheduling, which then hears of its end as well.
    bool dropped = false;        // By scheduling.
    bool ending = false;
    Resources holds;
    sandbox::Limits each;                     // Of a slot.
    std::vector<std::int64_t> init_versions;  // Of the secrets that it was loaded with.
    void clear() {
      spares.clear();
      slots.clear();
    }
  };

  struct Reading {  // When something of an instance was read.
    std::uint64_t turn = 0;
    TimePoint at{};
  };

  struct Instance {
    FunctionKey function{};
    std::string name;  // For people: "3fa9c1".
    std::unique_ptr<Worker> worker;
    std::unique_ptr<Template> mold;  // It is a template: scheduling does not know it.
    InstanceKey forked_from{};
    std::uint64_t shared_bytes = 0;  // Its template's memory.
    TimePoint wake_began{};
    TimePoint ready_at{};
    ledger::Phases wake;
    ledger::Rung rung = ledger::Rung::artefact;
    bool ready = false;
    bool stopping = false;
    bool leaving = false;  // It was asked to, and may still have something to keep.
    bool fresh = true;     // Nothing ran in it yet.
    bool settled = true;   // False: a fork that has not yet said that it is ready.
    bool minded = false;   // mind_forks() runs.
    bool in_flush = false;
    bool mixed_line = false;  // The line that it is amid may have begun as another call's.
    bool writing = false;
    bool trial = false;  // Of a deploy: scheduling does not know it.
    std::function<void(std::string)>
        printed;  // Of a trial: hears what it prints, instead of the log.
    std::set<CallKey> running;
    std::set<CallKey> aborted;                // Their answers may still come, and are dropped.
    std::map<CallKey, TimePoint> cancelling;  // Those of them whose slot is still taken: since.
    sandbox::Usage used;
    Reading used_read;  // Of `used`.
    Duration cpu{};
    Reading cpu_read;  // Of `cpu`.
    std::uint64_t memory_bytes_max = 0;
    std::string end_reason;
    bool ended_by_us = false;  // For no fault of its own.
    std::string last_line;  // Since it was given its last call; none while calls run side by side.
    SecretUses secrets;     // Of its manifest.
    std::map<std::uint64_t, Room> call_rooms;  // For calls that it is about to make, by handle.
    std::set<std::uint64_t> calling;           // Those that it makes.
    std::set<std::uint64_t> left;              // Of those, what it has given up.
    std::map<std::uint64_t, std::shared_ptr<Passing>> passing;  // Streams that answer those.
    std::uint64_t gathered_bytes = 0;                           // Of streams that answer them.
    std::uint64_t unread_bytes = 0;                // Of answers that it may not have read yet.
    std::map<CallKey, std::string> conversations;  // Of the last calls that it was given.
    std::map<std::uint64_t, Room> keep_rooms;      // For what it is about to keep, by handle.
    std::vector<std::unique_ptr<http::Upstream>> connections;  // To its program; nobody uses them.
  };

  struct Question {  // To a blank sandbox: become this revision, or prepare it.
    catalog::Manifest manifest;
    wire::Options options;
    std::filesystem::path tree;
    wire::Type type = wire::Type::load;
    wire::Type reply = wire::Type::ready;
  };

  // shard.cc: events and commands.
  void happen(scheduling::Event);
  void carry_out(const scheduling::Command&);
  void on(const scheduling::Wake&);
  asio::awaitable<void> begin_wakes();
  void on(const scheduling::Dispatch&);
  void on(const scheduling::Refuse&);
  void on(const scheduling::Abort&);
  static Error why_aborted(const Call&, const Instance*, Code);
  void on(const scheduling::Stop&);
  void on(const scheduling::DropTemplate&);
  template <class Work>
  void in_one_turn(Work work);
  void request_turn_end();
  void post_turn_end();
  void end_turn();
  void abandon_turn(const Error&);
  void arm(TimePoint);
  asio::awaitable<void> tick_at(TimePoint);
  void release(FunctionKey);
  Call* call(CallKey);
  Instance* instance(InstanceKey);
  FunctionKey serving(const std::string& function) const;
  FunctionKey meant_by(const Invocation&);
  FunctionKey add(catalog::RevisionPtr, bool serves);
  void withdraw(FunctionKey, bool removed);
  static void add_to(Status*, const scheduling::View&);
  const sandbox::Sandbox* sandbox_of_template(const std::string& function) const;
  const sandbox::Sandbox* some_instance_of(const std::string& function) const;

  // attempts.cc: how calls begin and end.
  void finish(Call&, Outcome);
  void tell(Call&, Outcome);
  struct Took {
    Duration run, cpu;
  };
  Took finish_attempt(Call&, Result<Answer>);
  void run_to_its_end(Call&, Result<Answer>);
  void give_room(InstanceKey, const wire::Frame&);
  bool is_recent(const Instance&, const Reading&, TimePoint now) const;
  const sandbox::Usage& recent_usage(Instance&, TimePoint now);
  Duration recent_cpu(Instance&, TimePoint now);
  void answer(InstanceKey, const wire::Frame&);
  void begin_stream(Call&, wire::Answer);
  void chunk(InstanceKey, const wire::Frame&);
  void stats(InstanceKey, const wire::Frame&);
  bool is_language_model(const catalog::Revision&) const;
  void forget(CallKey);
  bool cancel_in_place(Call&);
  asio::awaitable<void> mind_cancelling(InstanceKey, CallKey);
  void end_aborted(Instance&, CallKey);
  void break_off(InstanceKey, const std::string& why);
  void shun(InstanceKey, std::optional<Error> harm = std::nullopt);
  void count(const Call&, const Outcome&);

  // inner_calls.cc: how functions call each other.
  struct InnerCall {
    InstanceKey from{};
    std::uint64_t handle = 0;
    CallKey caller{};
    Room room;  // Of a large body.
    std::uint64_t body_bytes = 0;
    bool in_memfd = false;
    bool streams = false;  // It takes a stream as it comes.
  };
  void give_call_room(InstanceKey, const wire::Frame&);
  void begin_inner_call(InstanceKey, const wire::Frame&);
  CallKey caller_of(const Instance&, std::uint64_t named) const;
  Result<Invocation> inner_invocation(const Instance&, CallKey caller, const wire::Call&) const;
  asio::awaitable<void> run_inner_call(InnerCall, Invocation);
  std::unique_ptr<Call> new_call(Invocation&&);
  asio::awaitable<Outcome> invoke_within(CallKey caller, std::unique_ptr<Call>,
                                         std::optional<conversations::State> = {});
  asio::awaitable<Result<Answer>> gather(InstanceKey by, Answer);
  std::shared_ptr<Passing> begin_passing(const InnerCall&, wire::Content);
  asio::awaitable<void> pass_on(InnerCall, Answer);
  asio::awaitable<bool> pass_piece(InnerCall, std::shared_ptr<Passing>, std::string);
  void end_passing(const InnerCall&, Result<>);
  void credit_passing(InstanceKey, const wire::Frame&);
  void leave_passing(InstanceKey, const wire::Frame&);
  void give_up_passings(const Instance&, std::optional<CallKey> caller = {});
  void answer_inner_call(InstanceKey, std::uint64_t handle, Result<Answer>);

  // conversing.cc: how what was computed of a conversation is kept, and found again.
  bool keeps_conversations(const catalog::Revision&) const;
  asio::awaitable<Outcome> invoke_turn(Invocation);
  void hand_over_conversation(Call&, Instance&);
  void give_keep_room(InstanceKey, const wire::Frame&);
  void keep_conversation(InstanceKey, const wire::Frame&);
  asio::awaitable<void> let_keep();
  void hear_farewell(InstanceKey);

  // leases.cc: how calls go to programs that are HTTP servers.
  void lease(Call&, InstanceKey to);
  bool listens(const catalog::Revision&) const;

  // lives.cc: how instances live.
  asio::awaitable<void> wake(InstanceKey);
  asio::awaitable<Result<>> bring_up(InstanceKey);
  asio::awaitable<Result<>> bring_up_once(InstanceKey, std::filesystem::path tree);
  asio::awaitable<bool> was_killed_from_outside(InstanceKey);
  asio::awaitable<Result<std::filesystem::path>> tree_of(FunctionKey);
  asio::awaitable<Result<std::string>> ask(InstanceKey, Question);
  asio::awaitable<Error> autopsy(InstanceKey, Error);
  asio::awaitable<void> listen(InstanceKey);
  void part_from(InstanceKey);
  bool hear(InstanceKey, const wire::Frame&);
  void ask_room(InstanceKey, const wire::Frame&);
  asio::awaitable<void> write_rest(InstanceKey);
  asio::awaitable<void> mind_forks(InstanceKey);
  void hold_back(InstanceKey);
  asio::awaitable<void> mourn(InstanceKey);
  asio::awaitable<void> kill_after(InstanceKey, Duration grace);
  void bury(InstanceKey);
  void flush(InstanceKey);
  void to_flush(InstanceKey, Instance&);

  // output.cc: what they print.
  asio::awaitable<void> follow_output(InstanceKey);
  Worker::Took log_output(Instance&, std::size_t* bytes = nullptr, const Call* ended = nullptr);
  void drain_output(Instance&, const Call* ended);
  void log_rest(Instance& dead);
  void log_lines(Instance&, std::string lines, const Call* ended);
  void end_line(Instance&, const Call* ended);
  static std::size_t calls_of(const Instance&, const Call* ended);
  const Call* only_call(const Instance&, const Call* ended);
  void log_line(const Instance&, const Call*, std::string text);
  bool reports(const Call&) const;
  void report(Instance&, const Call&, const ledger::Receipt&);

  // templates.cc: what instances are forked from.
  asio::awaitable<Result<>> fork_one(InstanceKey, std::filesystem::path tree);
  asio::awaitable<Result<>> fork_into(InstanceKey mold, InstanceKey child, TimePoint deadline);
  asio::awaitable<Result<std::unique_ptr<sandbox::Slot>>> slot_of(InstanceKey mold);
  asio::awaitable<Result<InstanceKey>> template_of(FunctionKey, std::filesystem::path tree);
  enum class From : std::uint8_t { snapshot, files };  // If there is one.
  asio::awaitable<Result<InstanceKey>> load_template(FunctionKey, std::filesystem::path tree, From,
                                                     bool* was_killed);

  // snapshots.cc: templates on disk.
  bool wakes(FunctionKey, From) const;
  static Question question_of(const catalog::Revision&, std::filesystem::path tree);
  asio::awaitable<Result<std::string>> wake_template(InstanceKey mold, std::filesystem::path tree);
  void note_waking(InstanceKey mold, const Result<std::string>& said);
  bool can_be_saved(const catalog::Draft&) const;
  bool lacks_snapshot(const Served&) const;
  asio::awaitable<Result<>> save_template(InstanceKey mold, catalog::Draft*,
                                          std::filesystem::path out);
  asio::awaitable<void> try_snapshot(catalog::Draft*, Duration without, const Witness*);

  void announce(InstanceKey mold);
  void mind_wear(InstanceKey mold);
  asio::awaitable<void> renew(FunctionKey, InstanceKey worn);
  void end_renewal(InstanceKey mold);
  static std::unique_ptr<Worker> take_spare(Template&);
  asio::awaitable<void> await_turn_to_fork(InstanceKey mold);
  void end_turn_to_fork(InstanceKey mold);
  asio::awaitable<Result<>> examine(InstanceKey mold, const sandbox::Slot*);
  asio::awaitable<Result<>> search_for_secrets(InstanceKey mold, const sandbox::Slot*);
  asio::awaitable<Result<std::unique_ptr<Worker>>> fork_in_turn(InstanceKey mold,
                                                                TimePoint deadline);
  asio::awaitable<Result<std::unique_ptr<Worker>>> fork_worker(InstanceKey mold,
                                                               TimePoint deadline);
  asio::awaitable<Result<>> settle(InstanceKey child);
  Error why_not_settled(const Error&) const;
  void has_settled(Instance&, std::uint64_t at_us);
  static void count_as_waking(Call&, TimePoint until);
  void fail_to_settle(InstanceKey child, const Error&);
  asio::awaitable<void> mind_settling();
  void prepare_forks(InstanceKey mold);
  asio::awaitable<void> prepare_more(InstanceKey mold);
  asio::awaitable<Result<>> add_spare(InstanceKey mold);
  asio::awaitable<Result<>> add_slot(InstanceKey mold);
  asio::awaitable<void> watch_template(InstanceKey mold);
  void fall(InstanceKey mold);
  void give_up(InstanceKey mold);
  bool is_outdated(const Instance& from) const;
  void retire(InstanceKey mold);
  void tell_broke(FunctionKey);
  void leave_template(InstanceKey mold);
  void let_go(InstanceKey mold);
  asio::awaitable<void> end_template(InstanceKey mold);

  // deploying.cc: how a revision is tried out.
  asio::awaitable<Result<>> pin_network(catalog::Draft*);
  asio::awaitable<Result<>> prepare(catalog::Draft*, std::filesystem::path source, const Witness*);
  asio::awaitable<Result<>> run_prepare(InstanceKey, catalog::Draft*, std::filesystem::path source,
                                        std::filesystem::path out);
  asio::awaitable<Result<>> adopt(catalog::Draft*, std::filesystem::path out, wire::Prepared);
  asio::awaitable<Result<Duration>> try_load(catalog::Draft*, std::filesystem::path tree,
                                             const Witness*);
  asio::awaitable<Result<Duration>> load_once(catalog::Draft*, std::filesystem::path tree,
                                              const Witness*);
  asio::awaitable<Result<std::unique_ptr<Worker>>> worker_to_try(catalog::Manifest,
                                                                 const std::filesystem::path* out);
  static void note_forking(catalog::Draft*, bool refused, const Result<>& forked);
  asio::awaitable<Result<>> try_fork(InstanceKey mold, const catalog::Manifest*, const Witness*,
                                     bool* was_killed);
  class Trial;

  asio::any_io_executor executor_;
  Parts parts_;
  Options options_;
  scheduling::State state_;
  async::TaskGroup tasks_;
  Blanks blanks_;
  RenewalBudget renewals_;
  async::Thread aside_{"inner-calls"};  // For what large bodies of inner calls take.

  std::unordered_map<FunctionKey, Served> served_;
  std::map<std::string, FunctionKey, std::less<>> serving_;
  // Revisions that do not serve, and were called exactly, by number.
  std::map<std::string, std::map<std::int32_t, FunctionKey>> beside_;
  std::unordered_map<CallKey, std::unique_ptr<Call>> calls_;
  std::unordered_map<InstanceKey, std::unique_ptr<Instance>> instances_;
  std::uint64_t functions_made_ = 0;
  std::uint64_t calls_made_ = 0;
  std::uint64_t trials_made_ = 0;
  std::uint64_t templates_made_ = 0;

  std::deque<scheduling::Event> events_;
  scheduling::Commands commands_;
  bool stepping_ = false;
  TimePoint stepped_at_{};  // When what is being carried out was decided.

  std::deque<InstanceKey> to_wake_;  // The first of them has begun, and had the last turn.
  std::vector<InstanceKey> to_flush_;
  std::vector<CallKey> to_answer_;
  std::vector<std::shared_ptr<Settlement>> to_end_;
  std::uint64_t turn_ = 1;
  bool gathering_ = false;  // An event from outside is at work: see in_one_turn().
  bool turn_end_requested_ = false;
  Duration loop_lag_max_{};

  std::multiset<TimePoint> armed_;                          // When tick_at() tasks wake.
  std::deque<std::pair<TimePoint, InstanceKey>> settling_;  // By when; mind_settling() runs.
  bool closing_ = false;
  std::map<std::string, Counters> counters_;
};

// Does what an event from outside asks for. Others may be waiting behind it and share its turn, so
// the turn ends in a posted function; but a call that is alone has nothing to wait for.
template <class Work>
void Shard::in_one_turn(Work work) {
  if (gathering_ || turn_end_requested_) return work();
  gathering_ = true;
  work();
  gathering_ = false;
  if (!turn_end_requested_) return;
  if (calls_.size() <= 1) return end_turn();
  post_turn_end();
}

}  // namespace dormouse::fleet
