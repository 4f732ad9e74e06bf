// Continuous batching: all sequences that are being generated share each step of the model, and a
// new one joins at the next. What was computed stays in its slot, for the next prompt that begins
// with it, until another prompt begins: then it is put aside, as far as there is memory for that.
//
// Threads    One.
// Ownership  A Run belongs to its owner, who takes it out before it is destroyed.
// Errors     function_failed: llama.cpp could not compute; all runs are out then.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "runtimes/llm/aside.h"
#include "runtimes/llm/conversation.h"
#include "runtimes/llm/model.h"
#include "runtimes/llm/pace.h"
#include "runtimes/llm/slots.h"

namespace dormouse::llm {

// One sequence that is being generated.
class Run {
 public:
  explicit Run(std::vector<Token> prompt) : tokens_(std::move(prompt)), prompt_(tokens_.size()) {}
  virtual ~Run() = default;

  // What was computed another time, for what the prompt may begin with.
  void recall(std::shared_ptr<const KeptConversation> kept) { kept_ = std::move(kept); }

  // What follows the sequence so far, whose logits are the context's at `row`; nullopt: it is over,
  // and out.
  virtual std::optional<Token> next(std::int32_t row) = 0;
  virtual bool stalled() const = 0;  // Nobody takes what it says: it waits.
  virtual void fail(const Error&) = 0;

  const std::vector<Token>& tokens() const { return tokens_; }
  std::size_t prompt_tokens() const { return prompt_; }
  std::size_t reused_tokens() const { return reused_; }      // Of the prompt, once it has a slot.
  std::optional<std::size_t> slot() const { return slot_; }  // The one it has, or had last.

 private:
  friend class Engine;
  std::vector<Token> tokens_;  // The prompt, then what was generated.
  std::size_t prompt_;
  std::size_t reused_ = 0;
  std::shared_ptr<const KeptConversation> kept_;  // Until it has a slot.
  std::optional<std::size_t> slot_;
};

class Engine {
 public:
  // `aside_bytes`: of memory, for what was computed for slots that are idle. Of models that cannot
  // begin anywhere with what comes back from there, nothing is put aside.
  explicit Engine(Model*, std::uint64_t aside_bytes = 0);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // When a step is computed, and before any of its tokens is chosen: how long it took.
  void on_computed(std::function<void(std::chrono::nanoseconds)> heard) {
    on_computed_ = std::move(heard);
  }

  void add(Run*);     // At the end of the queue.
  void remove(Run*);  // If it is in.
  bool has_work() const;
  // One step, of a second or so if others generate. Runs may be added and removed by what it calls,
  // but for the Run that is asked.
  Result<> step();

  // What was computed for a slot's tokens, as bytes, and back again.
  const std::vector<Token>& computed(std::size_t slot) const { return slots_[slot].tokens; }
  std::uint64_t state_bytes(std::size_t slot) const;
  bool save(std::size_t slot, std::span<std::byte> to) const;
  // Nothing else goes into a slot while it is held, also after its run has ended.
  void hold(std::size_t slot);
  void let_go(std::size_t slot);

 private:
  std::optional<std::size_t> running_slot(const Run*) const;
  struct Row {
    std::size_t slot;
    std::int32_t row;
  };

  void admit();
  void recall(const KeptConversation&, std::span<const Token> prompt, std::size_t known);
  void begin(Run*, const Place&);
  void save_what_is_lost(const Place&, std::span<const Token> prompt);
  void put_aside_what_is_idle();
  bool keep_aside(std::size_t slot);
  void put_aside(std::size_t slot);
  void fill(std::size_t slot, bool prompts, std::int32_t tokens_max);
  void append(std::size_t slot, bool wants_logits);
  void advance(const Row&);
  void end(std::size_t slot);
  void fail_all(const Error&);
  llama_seq_id sequence(std::size_t slot) const { return static_cast<llama_seq_id>(slot); }

  Model* const model_;
  llama_batch batch_;
  std::vector<Slot> slots_;
  std::vector<Run*> running_;  // By slot.
  std::vector<bool> held_;     // Likewise.
  std::deque<Run*> waiting_;
  Aside aside_;
  std::vector<Row> rows_;
  Pace pace_;
  std::function<void(std::chrono::nanoseconds)> on_computed_;
  std::uint64_t clock_ = 0;
};

}  // namespace dormouse::llm
