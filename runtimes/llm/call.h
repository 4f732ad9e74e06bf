// One invocation of a language model, from its body to its answer.
//
// Ownership  Borrows the model, the engine and its Outlet, which outlive it. It is not destroyed
//            while the engine steps.
// Threads    One.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "runtimes/llm/embedder.h"
#include "runtimes/llm/engine.h"
#include "runtimes/llm/renderer.h"
#include "runtimes/llm/reply.h"

namespace dormouse::llm {

// Where an answer goes.
class Outlet {
 public:
  virtual ~Outlet() = default;
  virtual void answer(std::string body) = 0;  // JSON, all of it.
  virtual void begin_stream() = 0;            // Of events; then any number of
  virtual void send(std::string events) = 0;
  virtual void end_stream() = 0;
  virtual void fail(const Error&) = 0;
  virtual void count(const Usage&) = 0;  // So far, with what was sent; an answer's: before it.
  virtual bool stalled() const = 0;      // No more can be taken now.
};

struct Invocation {
  std::string id;
  std::string model;        // As it is called here: the function's name.
  std::string_view wanted;  // "chat.completions", …; "": by the body.
  std::string_view body;
  std::int64_t now = 0;                          // Seconds since 1970.
  bool is_kept = false;                          // It is of a conversation,
  std::shared_ptr<const KeptConversation> kept;  // which said this before; nullptr: nothing.
};

class Call {
 public:
  virtual ~Call() = default;
  virtual bool over() const = 0;
  // Of the engine, for a conversation: the slot of what it read and said, held since that ended;
  // whoever takes it lets it go. nullopt if there is nothing to keep.
  virtual std::optional<std::size_t> take_slot() { return std::nullopt; }
  virtual std::span<const Token> tail() const { return {}; }  // Said last, and not computed.
};

// The tokens of a text; an error that names `field` if there are none, too many, or ones that the
// model does not have.
Result<std::vector<Token>> tokens_of(const Model&, const Text&, std::string_view field);

// The error of a text of so many tokens, for which the context has no room.
Error overflow(const Model&, std::string_view field, std::size_t tokens = 0);  // 0: not counted.

// A chat's or a completion's. The Error is the answer, and there is no Call.
Result<std::unique_ptr<Call>> generate(Model*, Engine*, Renderer*, Outlet*, const Invocation&,
                                       Request);

// Texts to vectors, a step at a time.
class EmbeddingCall final : public Call {
 public:
  static Result<std::unique_ptr<EmbeddingCall>> make(Model*, Outlet*, const Invocation&, Request);
  void step(Embedder*);
  bool over() const override { return over_; }

 private:
  EmbeddingCall(Outlet* outlet, Heading heading, Request request)
      : outlet_(outlet), heading_(std::move(heading)), request_(std::move(request)) {}
  void finish();

  Outlet* const outlet_;
  const Heading heading_;
  const Request request_;
  std::vector<std::vector<Token>> texts_;
  std::vector<std::vector<float>> vectors_;
  std::size_t tokens_ = 0;
  bool over_ = false;
};

Heading heading_of(const Invocation&, const Request&);

}  // namespace dormouse::llm
