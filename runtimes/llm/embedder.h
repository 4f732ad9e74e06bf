// Texts to vectors: as many in a step as the batch has room for.
//
// Threads    One.
// Errors     function_failed: llama.cpp could not compute.
#pragma once

#include <span>
#include <vector>

#include "runtimes/llm/model.h"

namespace dormouse::llm {

class Embedder {
 public:
  explicit Embedder(Model*);
  ~Embedder();
  Embedder(const Embedder&) = delete;
  Embedder& operator=(const Embedder&) = delete;

  // Of the first of `texts`, as many as one step takes: at least one, if there is one. None is
  // empty, or longer than the model's context.
  Result<std::vector<std::vector<float>>> step(std::span<const std::vector<Token>> texts);

 private:
  void append(llama_seq_id, const std::vector<Token>&);
  std::vector<float> vector(llama_seq_id) const;

  Model* const model_;
  llama_batch batch_;
};

// Of length 1, as OpenAI's are; `dimensions` > 0: only so many of the first.
void normalise(std::vector<float>&, std::size_t dimensions = 0);

}  // namespace dormouse::llm
