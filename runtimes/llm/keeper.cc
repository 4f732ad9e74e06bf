#include "runtimes/llm/keeper.h"

#include <sys/mman.h>

#include <cstring>

#include "wire/mapping.h"

namespace dormouse::llm {
namespace {

constexpr std::size_t rooms_max = 4;  // That the daemon gives out at a time (wire.md).

}  // namespace

Result<> Keeper::take_state(wire::Frame& frame) {
  auto state = wire::decode_state(frame.payload);
  if (!state) return std::move(state).error();
  Open open{.name = std::move(state->conversation)};
  if (state->has_state && state->size > 0) {
    if (frame.descriptors.empty()) {
      return Error{Code::invalid_argument, "a conversation's state without its descriptor"};
    }
    const auto mapped =
        wire::map(frame.descriptors.front().number(), state->offset + state->size, PROT_READ);
    if (!mapped) return mapped.error();
    const Bytes bytes(static_cast<const std::byte*>(mapped->get()) + state->offset, state->size);
    auto kept = read_conversation(bytes);
    if (kept) {
      kept->file = *mapped;
      open.kept = std::make_shared<const KeptConversation>(std::move(*kept));
    }
  }
  open_.insert_or_assign(frame.header.handle, std::move(open));
  return ok;
}

std::shared_ptr<const KeptConversation> Keeper::take_kept(std::uint64_t invocation) {
  const auto found = open_.find(invocation);
  return found == open_.end() ? nullptr : std::exchange(found->second.kept, nullptr);
}

void Keeper::keep(std::uint64_t invocation, std::size_t slot, std::span<const Token> tail) {
  const auto found = open_.find(invocation);
  if (found == open_.end()) return engine_->let_go(slot);
  Asked asked{.invocation = invocation, .name = std::move(found->second.name), .slot = slot};
  open_.erase(found);
  std::vector<Token> tokens = engine_->computed(slot);
  const std::size_t computed = tokens.size();
  tokens.insert(tokens.end(), tail.begin(), tail.end());
  asked.head = conversation_head(tokens, computed);
  asked.size = asked.head.size() + engine_->state_bytes(slot);
  queue_.push_back(std::move(asked));
  ask();
}

void Keeper::ask() {
  while (!queue_.empty() && asked_.size() < rooms_max) {
    const std::uint64_t handle = ++last_ | wire::keep_bit;
    wire_->post(wire::Type::ask_room, handle, wire::encode_ask_room(queue_.front().size));
    asked_.emplace(handle, std::move(queue_.front()));
    queue_.pop_front();
  }
}

bool Keeper::take_room(wire::Frame& frame) {
  const auto found = asked_.find(frame.header.handle);
  if (found == asked_.end()) return false;
  const Asked asked = std::move(found->second);
  asked_.erase(found);
  if (!frame.descriptors.empty() && write(asked, frame.descriptors.front().number())) {
    wire_->post(wire::Type::keep, frame.header.handle,
                wire::encode(wire::Keep{asked.invocation, asked.name, asked.size}));
  }
  engine_->let_go(asked.slot);
  ask();
  return true;
}

Result<> Keeper::write(const Asked& asked, int room) const {
  const auto mapped = wire::map(room, asked.size, PROT_READ | PROT_WRITE);
  if (!mapped) return mapped.error();
  const std::span<std::byte> to(static_cast<std::byte*>(mapped->get()), asked.size);
  std::memcpy(to.data(), asked.head.data(), asked.head.size());
  if (engine_->save(asked.slot, to.subspan(asked.head.size()))) return ok;
  return Error{Code::function_failed, "the state of a conversation has another size than it said"};
}

}  // namespace dormouse::llm
