// The conversations of a worker's invocations: what comes with them, and what is kept when they
// have ended. docs/formats/conversation.md.
//
// Ownership  Borrows the wire and the engine.
// Errors     Only a broken protocol. What cannot be recalled or kept is computed anew another time.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtimes/llm/conversation.h"
#include "runtimes/llm/engine.h"
#include "wire/messages.h"
#include "wire/worker_end.h"

namespace dormouse::llm {

class Keeper {
 public:
  Keeper(wire::WorkerEnd* wire, Engine* engine) : wire_(wire), engine_(engine) {}

  // A frame `state`: of which conversation the invocation with its handle will be.
  Result<> take_state(wire::Frame&);
  // What was kept of it; nullptr: nothing. Once.
  std::shared_ptr<const KeptConversation> take_kept(std::uint64_t invocation);
  // It has ended without anything to keep.
  void forget(std::uint64_t invocation) { open_.erase(invocation); }
  bool knows(std::uint64_t invocation) const { return open_.contains(invocation); }
  // It has ended, `slot`, which is held, has what was computed for it, and `tail` was said last and
  // not computed.
  void keep(std::uint64_t invocation, std::size_t slot, std::span<const Token> tail);
  // A frame `room`; false: it was not asked for here.
  bool take_room(wire::Frame&);
  bool waits() const { return !asked_.empty() || !queue_.empty(); }  // For room.

 private:
  struct Open {
    std::string name;
    std::shared_ptr<const KeptConversation> kept;
  };
  struct Asked {
    std::uint64_t invocation = 0;
    std::string name, head;
    std::size_t slot = 0;
    std::uint64_t size = 0;
  };
  void ask();  // For the next of the queue, if not too many were asked for.
  Result<> write(const Asked&, int room) const;

  wire::WorkerEnd* const wire_;
  Engine* const engine_;
  std::map<std::uint64_t, Open> open_;
  std::deque<Asked> queue_;
  std::map<std::uint64_t, Asked> asked_;
  std::uint64_t last_ = 0;
};

}  // namespace dormouse::llm
