// Owns every live instance: starts them from blank sandboxes, gives them invocations, stops them,
// and writes a receipt for each attempt. It decides nothing: scheduling does, and it obeys.
//
// Threads    One executor, where all its state lives. What blocks happens on threads of the
//            launcher, the ledger, the blobs.
// Cancelling invoke() may be cancelled (the client left): the worker is told, its slot comes back,
//            and a receipt is written all the same.
// Errors     As Outcome says. A call that was refused before it began has no receipt.
#pragma once

#include <array>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "async/clock.h"
#include "blobs/blobs.h"
#include "catalog/catalog.h"
#include "conversations/conversations.h"
#include "fleet/renewal.h"
#include "http/message.h"
#include "http/upstream.h"
#include "ledger/ledger.h"
#include "logs/logs.h"
#include "metering/metering.h"
#include "sandbox/sandbox.h"
#include "secrets/secrets.h"
#include "wire/messages.h"

namespace dormouse::fleet {

// How an artefact is brought to life: a row of the daemon's configuration.
struct Runtime {
  std::filesystem::path root;     // The sandbox's root file system.
  std::vector<std::string> argv;  // The worker, inside it.
  std::vector<std::string> env;
  std::vector<sandbox::Bind> binds;            // Of the host, in every sandbox of this runtime.
  std::vector<std::filesystem::path> devices;  // Of the host, likewise: "/dev/nvidia0".
  std::int32_t blanks = 1;                     // Sandboxes kept waiting, initialised and empty,
  bool waits_unused = true;                    // also before any function is of this runtime.
  bool prepares = false;                       // Has a deploy-time step (`prepare`).
  bool reports = false;          // Its log says when a call began and ended, and what it took.
  bool forks = false;            // May become a template: docs/formats/template.md.
  bool snapshots = false;        // Its templates can be saved: docs/formats/snapshot.md,
  bool saves_unasked = true;     // and are unless the manifest says no: they run no user's code.
  bool loopback = false;         // Its processes may speak IP with each other.
  bool listens = false;          // Its programs are HTTP servers: calls go to their port.
  bool language_models = false;  // Its workers are ours, and count tokens.
  bool keeps_conversations = false;  // They keep what they computed of a conversation, too.
  bool client_context = false;       // Its workers take what a client says of itself.
  Duration left_alone{};             // So long nothing is prepared beside what starts from a file:
                                     // it loads and answers with all processors.
};

// The row of that name; one that can nothing if the node has lost it since a deploy.
const Runtime& runtime_of(const std::map<std::string, Runtime>&, const std::string& name);

// Where the programs of a runtime that `listens` do so, on the sandbox's own loopback.
inline constexpr std::uint16_t program_port = 8080;

// What a dialect may ask for beside.
struct Wishes {
  bool exactly = false;  // The invocation's revision, also beside what serves; else what does.
  // The function's timeout runs from when it begins, as AWS has it: it waits as long as a start may
  // take. Else waiting is within it.
  bool timed_from_begin = false;
  std::string client_context;  // "": none. Of a runtime that takes it.
};

struct Invocation {
  InvocationId id;
  catalog::RevisionPtr revision;
  wire::Content content;
  http::Body body;
  std::vector<std::string> outputs;  // Wanted tensors by name; empty: all.
  std::string conversation;          // "": none. Of a runtime that keeps them.
  TimePoint accepted;
  std::vector<std::string> callers;  // The functions that wait for it, the outermost first.
  TimePoint deadline = never;        // Its function's timeout may end sooner.
  Wishes wishes;
};

// The body of an answer that comes piece by piece. Destroying it before its end is the client's
// leaving. It must not outlive the Fleet's drain().
class Stream {
 public:
  virtual ~Stream() = default;
  // nullopt: that was all. An Error: the function, or its instance, failed half-way.
  virtual asio::awaitable<Result<std::optional<std::string>>> next() = 0;
  virtual const ledger::ReceiptPtr& receipt() const = 0;  // Once it has ended.
  // Nobody reads on, for which the function is to blame: its call ends as failed with `why`, unless
  // it has ended already. That is on record by then.
  virtual asio::awaitable<void> give_up(Error why) = 0;
};

// A call's hold on a slot of an instance whose runtime `listens`. Whoever has it passes the request
// on to the program, and says how that ended. Destroying it before is the client's leaving. It must
// not outlive the Fleet's drain().
class Lease {
 public:
  virtual ~Lease() = default;
  // A connection to the program, the Lease's own: one that served another call before, or, if
  // `anew`, surely not. At the call's deadline, or when the instance ends, it is shut.
  virtual asio::awaitable<Result<http::Upstream*>> connect(bool anew) = 0;

  struct Traffic {
    std::uint64_t request_bytes = 0, response_bytes = 0;
  };
  struct Ending {
    std::optional<Error> failure;
    ledger::ReceiptPtr receipt;
  };
  virtual Traffic& traffic() = 0;  // So far, as whoever holds this counts it.
  // The call has ended so; what is given back is on record by then. If the fleet had ended it
  // before, it is that. Once. The connection stays the Lease's until it is destroyed.
  virtual asio::awaitable<Ending> end(std::optional<Error> failure) = 0;
};

struct Answer {
  wire::Content content;
  http::Body body;
  std::unique_ptr<Stream> stream;  // nullptr: `body` is all of it.
  std::unique_ptr<Lease> lease;    // Of a runtime that `listens`, and nothing else then.
};

struct Outcome {
  Result<Answer> answer;
  ledger::ReceiptPtr receipt;  // nullptr: refused before it began, or it has not ended.
  Duration retry_after{};      // 0: none.
};

// Of one function: counts and memory of all its revisions, the rest of what serves.
struct Status {
  std::int32_t starting = 0, busy = 0, dozing = 0, stopping = 0, running = 0, queued = 0;
  std::uint64_t memory_bytes = 0;
  bool has_template = false;
  bool waits_for_memory = false;   // With calls in its queue.
  bool snapshot_is_stale = false;  // A deploy of the same would have one that can be woken.
  bool kept_back = false;  // None is there, and as starts failed or did harm, none starts yet.
  Duration wake_expected{};
  std::string last_start_error;
};

// Counts of durations: how many were at most each of `bounds`, and how long all of them took.
struct Histogram {
  static constexpr Duration bounds[] = {
      std::chrono::microseconds(100),  std::chrono::milliseconds(1),
      std::chrono::milliseconds(5),    std::chrono::milliseconds(20),
      std::chrono::milliseconds(50),   std::chrono::milliseconds(100),
      std::chrono::milliseconds(250),  std::chrono::milliseconds(500),
      std::chrono::milliseconds(1000), std::chrono::milliseconds(2500),
      std::chrono::seconds(10),        std::chrono::seconds(60)};
  std::array<std::uint64_t, std::size(bounds)> at_most{};
  std::uint64_t count = 0;
  Duration sum{};
  void add(Duration);
};

// Durations of which the last few are remembered.
class Recent {
 public:
  void add(Duration);
  std::uint64_t count() const { return count_; }  // Of all.
  Duration median() const;                        // Of those that are remembered; 0 if none are.

 private:
  std::uint64_t count_ = 0;
  std::array<Duration, 64> last_{};
};

struct Counters {                                 // Since this process started.
  std::map<std::string, std::uint64_t> outcomes;  // "ok" or the name of a Code → calls.
  Histogram queue, wake_sandbox, wake_code, wake_load, run;
  ledger::Tokens tokens;
  std::map<ledger::Rung, Recent> wakes;  // By where from: all phases together.
};

// What takes a moment to find out.
struct Details {
  std::map<ledger::Rung, Recent> wakes;
  std::optional<sandbox::Pages> of_template;
  std::optional<sandbox::Pages> of_instance;  // One that is there, or is forked beforehand.
};

struct Snapshot {
  std::map<std::string, Status> functions;
  std::map<std::string, Counters> counters;
  std::map<std::string, std::int32_t> blanks;  // By runtime.
  Duration loop_lag_max{};                     // Since the last snapshot.
};

struct Options {
  std::map<std::string, Runtime> runtimes;
  Resources node;  // What all instances together may hold.
  metering::RateCard rates;
  std::string node_name;
  std::filesystem::path dir;  // For what sandboxes write at deploy.
  Duration drain_grace =
      std::chrono::seconds(1);                // From asking an idle worker to leave to SIGKILL.
  std::uint64_t answer_bytes_max = 64 << 20;  // Of one answer.
  // What one instance prints is read so fast, and this much of it beforehand.
  std::uint64_t output_bytes_per_second = 8 << 20;
  std::uint64_t output_bytes_ahead = 1 << 20;
  // Of each template: forks that wait, ready, and slots for more.
  std::size_t spare_forks = 1;
  std::size_t spare_slots = 4;
  // An idle instance goes after this, if it can be forked again; keep_alive, if that is less.
  Duration keep_alive_forked = std::chrono::seconds(2);
  RenewalTerms renewal;
  // For idle workers that keep conversations: from asking one to leave to SIGKILL.
  Duration keep_grace = std::chrono::seconds(10);
  Duration settling_max =
      std::chrono::seconds(10);  // From `go` until a fork says that it is ready.
};

// What a Fleet works with; all of it outlives the Fleet.
struct Parts {
  async::Clock* clock;
  sandbox::Launcher* launcher;
  blobs::Blobs* blobs;
  ledger::Ledger* ledger;
  logs::Logs* logs;
  const secrets::Secrets* secrets;
  conversations::Conversations* conversations;
};

// Who hears how a trial goes: a line for a person at each step, and each line that the code
// printed.
struct Witness {
  std::function<void(std::string)> progress, printed;
};

class Fleet {
 public:
  virtual ~Fleet() = default;
  virtual asio::awaitable<Outcome> invoke(Invocation) = 0;

  // Really starts the draft once: prepares it, loads it, learns its inputs and outputs. Gives it
  // back completed.
  virtual asio::awaitable<Result<catalog::Draft>> try_out(catalog::Draft, Witness) = 0;

  // The catalog or a secret changed: this revision serves anew from now on (nullptr: the function
  // is gone). What served before takes no new call; its calls end as they began.
  virtual void serve(const std::string& function, catalog::RevisionPtr) = 0;
  // What serve() said last, which invoke() calls; nullptr: nothing.
  virtual catalog::RevisionPtr serves(const std::string& function) const = 0;
  // A revision that does not serve was removed, or a secret of its own changed: what there is of
  // it, for calls that were for exactly this one, takes no more.
  virtual void retire(const std::string& function, std::int32_t number) = 0;

  virtual Status status(const std::string& function) const = 0;
  virtual asio::awaitable<Details> details(std::string function) const = 0;
  virtual Snapshot snapshot() = 0;
  virtual const std::map<std::string, Runtime>& runtimes() const = 0;

  // Ends every invocation that runs or waits, with `unavailable`: for no fault of its own.
  virtual void end_calls() = 0;
  // Lets running invocations end for `grace`, then ends them, and stops everything. Nothing is
  // left.
  virtual asio::awaitable<void> drain(Duration grace) = 0;
};

std::unique_ptr<Fleet> make_fleet(asio::any_io_executor, Parts, Options);

}  // namespace dormouse::fleet
