#include "runtimes/llm/embedder.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "runtimes/llm/library.h"
#include "runtimes/llm/scratch.h"

namespace dormouse::llm {

Embedder::Embedder(Model* model)
    : model_(model), batch_(llama_batch_init(model->batch_tokens(), 0, 1)) {
}

Embedder::~Embedder() {
  llama_batch_free(batch_);
}

void Embedder::append(llama_seq_id sequence, const std::vector<Token>& text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto row = static_cast<std::size_t>(batch_.n_tokens++);
    batch_.token[row] = text[i];
    batch_.pos[row] = static_cast<llama_pos>(i);
    batch_.n_seq_id[row] = 1;
    batch_.seq_id[row][0] = sequence;
    batch_.logits[row] = 1;
  }
}

std::vector<float> Embedder::vector(llama_seq_id sequence) const {
  const float* const values = llama_get_embeddings_seq(model_->context(), sequence);
  CHECK(values != nullptr);
  return {values, values + llama_model_n_embd_out(model_->model())};
}

Result<std::vector<std::vector<float>>> Embedder::step(std::span<const std::vector<Token>> texts) {
  batch_.n_tokens = 0;
  llama_seq_id count = 0;
  for (const std::vector<Token>& text : texts) {
    const auto tokens = static_cast<std::int32_t>(text.size());
    CHECK(tokens > 0 && tokens <= model_->batch_tokens());
    if (count == model_->sequences() || batch_.n_tokens + tokens > model_->batch_tokens()) break;
    append(count++, text);
  }
  if (count == 0) return std::vector<std::vector<float>>();
  if (llama_memory_t memory = model_->memory()) llama_memory_clear(memory, false);
  last_complaint();
  if (llama_decode(model_->context(), batch_) != 0) {
    forget_scratch();
    return Error{Code::function_failed, "llama.cpp could not compute: " + last_complaint()};
  }
  std::vector<std::vector<float>> vectors;
  for (llama_seq_id i = 0; i < count; ++i) vectors.push_back(vector(i));
  return vectors;
}

void normalise(std::vector<float>& vector, std::size_t dimensions) {
  if (dimensions > 0 && dimensions < vector.size()) vector.resize(dimensions);
  double square = 0;
  for (const float value : vector) square += static_cast<double>(value) * value;
  if (!(square > 0)) return;
  const auto scale = static_cast<float>(1 / std::sqrt(square));
  for (float& value : vector) value *= scale;
}

}  // namespace dormouse::llm
