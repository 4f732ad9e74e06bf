// How what a worker computed of a conversation is kept while it sleeps, and found again.
#include <algorithm>

#include "fleet/shard.h"

namespace dormouse::fleet {
namespace {

constexpr std::size_t conversations_max = 1024;  // That an instance may still keep something of.
constexpr std::size_t keep_rooms_max = 4;        // Of an instance, at a time.

conversations::Key key_of(const catalog::Revision& revision, std::string conversation) {
  return {{revision.tenant, revision.manifest.name, std::string(revision.digest.hex())},
          std::move(conversation)};
}

}  // namespace

bool Shard::keeps_conversations(const catalog::Revision& revision) const {
  return runtime_of(options_.runtimes, revision.manifest.runtime).keeps_conversations;
}

asio::awaitable<Outcome> Shard::invoke_turn(Invocation invocation) {
  auto key = key_of(*invocation.revision, invocation.conversation);
  auto finding = parts_.conversations->find(std::move(key));
  auto state = co_await std::move(finding);
  auto invoking = invoke_within({}, new_call(std::move(invocation)), std::move(state));
  co_return co_await std::move(invoking);
}

// Before the `invoke` that it is for.
void Shard::hand_over_conversation(Call& it, Instance& where) {
  const std::string& name = it.invocation.conversation;
  if (name.empty()) return;
  where.conversations[it.key] = name;
  if (where.conversations.size() > conversations_max) {
    where.conversations.erase(where.conversations.begin());
  }
  wire::State said{.conversation = name};
  std::vector<SharedDescriptor> descriptors;
  if (auto state = std::exchange(it.state, std::nullopt)) {
    said.has_state = true;
    said.offset = state->offset;
    said.size = state->size;
    descriptors.push_back(std::make_shared<const wire::Descriptor>(std::move(state->file)));
  }
  where.worker->post(wire::Type::state, static_cast<std::uint64_t>(it.key), wire::encode(said),
                     std::move(descriptors));
}

void Shard::give_keep_room(InstanceKey to, const wire::Frame& frame) {
  Instance& where = *instance(to);
  const auto bytes = wire::decode_ask_room(frame.payload);
  const std::uint64_t handle = frame.header.handle;
  const bool may_ask = keeps_conversations(*served_.at(where.function).revision) &&
                       where.keep_rooms.size() < keep_rooms_max &&
                       !where.keep_rooms.contains(handle);
  if (!bytes || !may_ask) return break_off(to, "the worker asks for room that it may not have");
  std::vector<SharedDescriptor> descriptors;
  if (*bytes <= parts_.conversations->size_max()) {
    if (auto room = make_room(*bytes)) {
      descriptors.push_back(room->file);
      where.keep_rooms[handle] = *std::move(room);
    }
  }
  where.worker->post(wire::Type::room, handle, "", std::move(descriptors));
  to_flush(to, where);
}

// A worker keeps of a conversation only what it was given a call of.
void Shard::keep_conversation(InstanceKey from, const wire::Frame& frame) {
  Instance& where = *instance(from);
  const auto keep = wire::decode_keep(frame.payload);
  const auto room = where.keep_rooms.extract(frame.header.handle);
  if (!keep || !room || keep->size > room.mapped().bytes) {
    return break_off(from, "the worker keeps what is not in the room that it was given for it");
  }
  const auto call = where.conversations.find(CallKey{keep->invocation});
  const bool is_its_own = call != where.conversations.end() && call->second == keep->conversation;
  if (!is_its_own && where.conversations.size() == conversations_max) return;  // Long ago.
  if (!is_its_own) return break_off(from, "the worker keeps a conversation that is not its own");
  where.conversations.erase(call);  // Once for each call.
  const catalog::Revision& revision = *served_.at(where.function).revision;
  if (serving(revision.manifest.name) == FunctionKey{}) return;  // It is being removed.
  parts_.conversations->keep(key_of(revision, keep->conversation), room.mapped().file, keep->size);
}

// What it kept as it left, if its end was noticed sooner.
void Shard::hear_farewell(InstanceKey key) {
  Instance& dead = *instance(key);
  while (dead.leaving) {
    const auto frame = dead.worker->poll();
    if (!frame || !*frame) return;
    if ((*frame)->header.type == wire::Type::keep) keep_conversation(key, **frame);
  }
}

// Before the platform stops: workers leave by themselves, so that they keep what they have.
asio::awaitable<void> Shard::let_keep() {
  constexpr Duration look_again = std::chrono::milliseconds(10);
  const TimePoint until = parts_.clock->now() + options_.keep_grace;
  std::set<InstanceKey> asked;
  for (const auto& [key, each] : instances_) {
    if (!each->worker || each->mold || each->conversations.empty()) continue;
    if (each->ready && !each->stopping) {
      each->stopping = each->leaving = true;
      each->worker->post(wire::Type::drain, 0, "");
      flush(key);
    }
    if (each->leaving) asked.insert(key);
  }
  const auto is_there = [this](InstanceKey key) { return instances_.contains(key); };
  while (std::ranges::any_of(asked, is_there) && parts_.clock->now() < until) {
    co_await parts_.clock->sleep_until(parts_.clock->now() + look_again);
  }
}

}  // namespace dormouse::fleet
