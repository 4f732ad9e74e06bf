// How calls go to programs that are HTTP servers: over a connection of their own, under a lease.
#include "async/before.h"
#include "fleet/shard.h"

namespace dormouse::fleet {
namespace {

constexpr Duration connect_max = std::chrono::seconds(5);
// A program that dies closes its connections first: how it died is known a moment later.
constexpr Duration death_known_in = std::chrono::milliseconds(100);
constexpr std::size_t kept_connections_max = 64;

class ShardLease final : public Lease {
 public:
  ShardLease(Shard* shard, CallKey call, std::shared_ptr<Hold> hold)
      : shard_(shard), call_(call), hold_(std::move(hold)) {}
  // Only now nobody can use the connection any more but whoever has it next.
  ~ShardLease() override {
    if (!hold_->finished()) shard_->let_go(call_, Error{Code::cancelled, "the client went away"});
    if (ended_well_) shard_->keep_connection(*hold_);
  }

  asio::awaitable<Result<http::Upstream*>> connect(bool anew) override {
    return shard_->connect(hold_, anew);
  }

  Traffic& traffic() override { return hold_->traffic(); }

  asio::awaitable<Ending> end(std::optional<Error> failure) override {
    if (failure && failure->code == Code::function_failed) {
      auto waiting = shard_->await_death(hold_);
      co_await std::move(waiting);
    }
    hold_->let_go();
    if (!hold_->finished()) shard_->let_go(call_, failure);
    auto recording = hold_->recorded();
    co_await std::move(recording);
    ended_well_ = !failure && !hold_->failure();
    co_return Ending{hold_->failure(), hold_->receipt()};
  }

 private:
  Shard* const shard_;
  const CallKey call_;
  const std::shared_ptr<Hold> hold_;
  bool ended_well_ = false;
};

}  // namespace

bool Shard::listens(const catalog::Revision& revision) const {
  return runtime_of(options_.runtimes, revision.manifest.runtime).listens;
}

// It leaves at the end of the turn, as a frame would: the call is on record by then.
void Shard::lease(Call& it, InstanceKey to) {
  it.hold = std::make_shared<Hold>(to, it.deadline);
  it.settlement = it.hold;
  Answer answer;
  answer.lease = std::make_unique<ShardLease>(this, it.key, it.hold);
  tell(it, {.answer = std::move(answer), .receipt = {}});
  request_turn_end();
}

asio::awaitable<Result<http::Upstream*>> Shard::connect(std::shared_ptr<Hold> hold, bool anew) {
  const Error ended{Code::function_failed, "the instance ended"};
  const Error unrecorded{Code::unavailable, "the ledger could not be written, so nothing runs"};
  Instance* const where = instance(hold->instance());
  if (hold->barred()) co_return unrecorded;
  if (hold->finished() || where == nullptr || !where->worker) co_return ended;
  while (!anew && !where->connections.empty()) {
    hold->connect(std::move(where->connections.back()));
    where->connections.pop_back();
    if (hold->connection()->is_reusable()) co_return hold->connection();
  }
  auto connecting = where->worker->sandbox().connect(program_port);
  const TimePoint until = std::min(hold->deadline(), parts_.clock->now() + connect_max);
  auto connected =
      co_await async::before(parts_.clock, until, std::move(connecting), Code::function_failed);
  if (!connected) {
    co_return Error{Code::function_failed, connected.error().code == Code::function_failed
                                               ? "the program does not accept connections"
                                               : connected.error().message};
  }
  if (hold->finished()) co_return ended;
  hold->connect(std::make_unique<http::Upstream>(executor_, connected->release()));
  co_return hold->connection();
}

asio::awaitable<void> Shard::await_death(std::shared_ptr<Hold> hold) {
  constexpr Duration look_again = std::chrono::milliseconds(10);
  const TimePoint until = parts_.clock->now() + death_known_in;
  while (!hold->finished() && parts_.clock->now() < until) {
    co_await parts_.clock->sleep_until(parts_.clock->now() + look_again);
  }
}

void Shard::let_go(CallKey key, std::optional<Error> failure) {
  Call* const it = call(key);
  if (it == nullptr || it->over) return;
  in_one_turn([&] {
    if (Instance* const where = instance(it->instance)) where->running.erase(key);
    run_to_its_end(*it, failure ? Result<Answer>(*failure) : Answer{});
  });
}

void Shard::keep_connection(Hold& hold) {
  Instance* const where = instance(hold.instance());
  auto connection = hold.take_connection();
  const bool is_wanted =
      where != nullptr && !where->stopping && where->connections.size() < kept_connections_max;
  if (is_wanted && connection && connection->is_between()) {
    where->connections.push_back(std::move(connection));
  }
}

}  // namespace dormouse::fleet
