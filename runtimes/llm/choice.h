// One answer that is being generated, as text: sampled, cut at stop sequences, read as a message.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtimes/llm/engine.h"
#include "runtimes/llm/message_reader.h"
#include "runtimes/llm/sampler.h"
#include "runtimes/llm/text_stream.h"

namespace dormouse::llm {

enum class Finish : std::uint8_t { stop, length, tool_calls };

// A token with its likelihood, then the likeliest ones, and what each of them says.
struct TokenReport {
  std::string text;
  std::size_t offset =
      0;  // In characters of all the text: of the one that it begins, or is part of.
  float logarithm = 0;
  std::vector<std::pair<std::string, float>> likeliest;
};

class Choice final : public Run {
 public:
  class Listener {
   public:
    virtual ~Listener() = default;
    virtual void said(Choice&, Delta) = 0;  // take_reports() has what came with it.
    virtual void ended(Choice&, Finish) = 0;
    virtual void failed(Choice&, const Error&) = 0;
    virtual bool stalled() const = 0;
  };

  Choice(Listener*, const Model*, std::size_t index, std::vector<Token> prompt,
         std::unique_ptr<Sampler>, const Request&, const ChatPrompt*);

  std::size_t index() const { return index_; }
  std::size_t generated() const { return generated_; }   // Tokens, also the one that only ends it.
  std::span<const Token> tail() const { return tail_; }  // What it said last, for want of room.
  // Since the last time, of tokens that begin in what was said: none of a stop sequence is.
  std::vector<TokenReport> take_reports();

  std::optional<Token> next(std::int32_t row) override;
  bool stalled() const override { return listener_->stalled(); }
  void fail(const Error& error) override { listener_->failed(*this, error); }

 private:
  void report(std::int32_t row, Token, std::string_view piece);
  void say(Delta);
  void finish(Finish);

  Listener* const listener_;
  const Model* const model_;
  const std::size_t index_;
  std::unique_ptr<Sampler> sampler_;
  TextStream text_;
  MessageReader reader_;
  std::optional<std::int32_t> logprobs_;
  std::size_t tokens_max_;
  bool ignores_end_;
  bool shows_marks_;
  bool calls_once_;  // At most.
  std::size_t generated_ = 0;
  std::vector<TokenReport> reports_;
  TextStream reported_{{}};
  std::size_t characters_ = 0;       // Whole ones, of what was reported,
  std::size_t free_characters_ = 0;  // and of what was free to go.
  std::vector<Token> tail_;
};

}  // namespace dormouse::llm
