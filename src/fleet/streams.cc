// How answers are streamed: from chunk frames, under credit, to whoever reads.
#include "fleet/shard.h"

namespace dormouse::fleet {
namespace {

class ShardStream final : public Stream {
 public:
  ShardStream(Shard* shard, CallKey call, std::shared_ptr<Flow> flow)
      : shard_(shard), call_(call), flow_(std::move(flow)) {}
  ~ShardStream() override {
    if (!flow_->finished()) shard_->leave(call_);
  }

  asio::awaitable<Result<std::optional<std::string>>> next() override {
    while (!flow_->has_next()) {
      auto waiting = flow_->woken();
      if (!co_await std::move(waiting)) co_return Error{Code::cancelled, "the client went away"};
    }
    auto piece = flow_->take();
    if (piece && *piece && !flow_->finished()) shard_->grant(call_, (*piece)->size());
    co_return piece;
  }

  const ledger::ReceiptPtr& receipt() const override { return flow_->receipt(); }

  asio::awaitable<void> give_up(Error why) override {
    if (!flow_->finished()) shard_->leave(call_, std::move(why));
    return flow_->recorded();
  }

 private:
  Shard* const shard_;
  const CallKey call_;
  const std::shared_ptr<Flow> flow_;
};

}  // namespace

// The head of a streamed answer. It leaves at the end of the turn, as every answer does.
void Shard::begin_stream(Call& it, wire::Answer head) {
  it.flow = std::make_shared<Flow>();
  it.flow->counted(it.tokens);
  it.settlement = it.flow;
  Answer answer;
  answer.content = std::move(head.content);
  answer.stream = std::make_unique<ShardStream>(this, it.key, it.flow);
  tell(it, {.answer = std::move(answer), .receipt = {}});
  request_turn_end();
}

void Shard::chunk(InstanceKey from, const wire::Frame& frame) {
  Instance& where = *instance(from);
  const CallKey key{frame.header.handle};
  const bool last = (frame.header.flags & wire::flag_end) != 0;
  if (where.aborted.contains(key)) {
    if (last) end_aborted(where, key);
    return;
  }
  Call* const it = where.running.contains(key) ? call(key) : nullptr;
  if (it == nullptr || !it->flow) {
    return break_off(from, "the worker streams an answer that it did not begin");
  }
  const auto flow = it->flow;
  if (!flow->add(frame.payload)) {
    return break_off(from, "the worker streams more than it has credit for");
  }
  if (!last) return;
  // Whoever reads has had its turn already, and may have left, which has ended the call.
  if (where.aborted.contains(key)) return end_aborted(where, key);
  if (where.running.erase(key) == 0) return;
  run_to_its_end(*call(key), Answer{});
}

bool Shard::is_language_model(const catalog::Revision& revision) const {
  return runtime_of(options_.runtimes, revision.manifest.runtime).language_models;
}

// A language model's worker says how many tokens a call has taken so far. Of another runtime, it is
// some user's code that says so.
void Shard::stats(InstanceKey from, const wire::Frame& frame) {
  Instance& where = *instance(from);
  const CallKey key{frame.header.handle};
  if (where.aborted.contains(key)) return;
  const auto said = wire::decode_stats(frame.payload);
  Call* const it = where.running.contains(key) ? call(key) : nullptr;
  if (it == nullptr || !said || !it->runtime->language_models) {
    return break_off(from, "the worker counts tokens that are not its own");
  }
  const ledger::Tokens tokens{static_cast<std::int64_t>(said->prompt_read),
                              static_cast<std::int64_t>(said->prompt_reused),
                              static_cast<std::int64_t>(said->generated)};
  it->flow ? it->flow->counted(tokens) : static_cast<void>(it->tokens = tokens);
}

void Shard::grant(CallKey key, std::size_t bytes) {
  Call* const it = call(key);
  Instance* const where = it == nullptr ? nullptr : instance(it->instance);
  if (where == nullptr || !where->worker || !where->running.contains(key)) return;
  const std::size_t granted = it->flow->grant(bytes);
  if (granted == 0) return;
  where->worker->post(wire::Type::credit, static_cast<std::uint64_t>(key),
                      wire::encode_credit(static_cast<std::uint32_t>(granted)));
  to_flush(it->instance, *where);
}

}  // namespace dormouse::fleet
