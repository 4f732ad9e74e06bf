// Chooses the next token of one sequence: llama.cpp's chain of samplers, with what the request
// wants of it, and a grammar that the answer has to follow. Where that is but the likeliest token,
// it is found without the chain, which first copies a vocabulary's worth of logits.
//
// Errors  invalid_argument: the grammar cannot be read.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "runtimes/llm/chat_prompt.h"
#include "runtimes/llm/model.h"
#include "runtimes/llm/request.h"

struct common_sampler;

namespace dormouse::llm {

// How likely a token was, before the request's own wishes: the natural logarithm.
struct Likelihood {
  Token token = 0;
  float logarithm = 0;
};

bool is_readable(const llama_vocab*, const std::string& grammar);

class Sampler {
 public:
  // `prompt`: of a chat, nullptr otherwise. `seed` in place of the one that is wished for.
  static Result<std::unique_ptr<Sampler>> make(const Model*, const Sampling&, const ChatPrompt*,
                                               std::uint32_t seed);

  // invalid_argument: nothing may follow, by what the request wants, or to find out what may takes
  // so long that all others wait for it. function_failed: the model finds no token likely at all.
  Result<Token> choose(std::int32_t row);

  // Of `chosen`, then of the `count` likeliest, at `row`.
  std::vector<Likelihood> likelihoods(std::int32_t row, Token chosen, std::int32_t count) const;

 private:
  struct Free {
    void operator()(common_sampler*) const;
  };
  using Chain = std::unique_ptr<common_sampler, Free>;
  using Biases = std::vector<std::pair<Token, float>>;
  Sampler(const Model* model, const Sampling& wishes, std::string_view held_by);

  std::span<const float> logits(std::int32_t row) const;
  Result<Token> likeliest(std::int32_t row);
  Error nothing_may_follow(std::int32_t row) const;

  const Model* model_;
  Biases biases_;  // Added to logits before the likeliest is taken, if there is no chain.
  std::vector<float> biased_;  // Logits, with them.
  Chain chain_;
  std::string_view held_by_;       // The field of the request that a grammar is of; "": none is.
  std::string_view ruled_out_by_;  // The one to name if it leaves no token; "": none does.
};

}  // namespace dormouse::llm
