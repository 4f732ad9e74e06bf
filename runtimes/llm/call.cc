#include "runtimes/llm/call.h"

namespace dormouse::llm {

Heading heading_of(const Invocation& invocation, const Request& request) {
  return {.operation = request.operation,
          .id = invocation.id,
          .model = invocation.model,
          .created = invocation.now,
          .stream = request.stream,
          .include_usage = request.include_usage,
          .has_logprobs = request.logprobs.has_value()};
}

Error overflow(const Model& model, std::string_view field, std::size_t tokens) {
  const std::string most = std::to_string(model.context_tokens());
  return {Code::invalid_argument, std::string(field) + ": context: it has " +
                                      (tokens > 0 ? std::to_string(tokens) : "more than " + most) +
                                      " tokens, and the model's context is " + most};
}

Result<std::vector<Token>> tokens_of(const Model& model, const Text& text, std::string_view field) {
  const std::string at = std::string(field) + ": ";
  std::vector<Token> tokens;
  if (const auto* given = std::get_if<std::vector<Token>>(&text)) {
    for (const Token token : *given) {
      if (model.has(token)) continue;
      return Error{Code::invalid_argument, at + "the model has no token " + std::to_string(token)};
    }
    tokens = *given;
  } else {
    const auto& words = std::get<std::string>(text);
    if (model.overflows(words.size())) return overflow(model, field);
    tokens = model.tokens(words, false);
  }
  if (tokens.empty()) return Error{Code::invalid_argument, at + "is empty"};
  const auto most = static_cast<std::size_t>(model.context_tokens());
  // What is generated wants room for one token at least.
  if (tokens.size() + (model.embeds() ? 0 : 1) <= most) return tokens;
  return overflow(model, field, tokens.size());
}

Result<std::unique_ptr<EmbeddingCall>> EmbeddingCall::make(Model* model, Outlet* outlet,
                                                           const Invocation& invocation,
                                                           Request request) {
  if (request.operation != Operation::embedding) {
    return Error{Code::unsupported,
                 "model: it makes vectors of texts (\"input\"), and generates none"};
  }
  const std::int32_t dimensions = llama_model_n_embd_out(model->model());
  if (request.dimensions && *request.dimensions > dimensions) {
    return Error{Code::invalid_argument,
                 "dimensions: the model's vectors have " + std::to_string(dimensions)};
  }
  Heading heading = heading_of(invocation, request);
  std::unique_ptr<EmbeddingCall> call(
      new EmbeddingCall(outlet, std::move(heading), std::move(request)));
  const auto& texts = call->request_.texts;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const std::string field = texts.size() == 1 ? "input" : "input[" + std::to_string(i) + "]";
    auto tokens = tokens_of(*model, texts[i], field);
    if (!tokens) return std::move(tokens).error();
    call->tokens_ += tokens->size();
    call->texts_.push_back(std::move(*tokens));
  }
  return call;
}

void EmbeddingCall::step(Embedder* embedder) {
  auto made = embedder->step(std::span(texts_).subspan(vectors_.size()));
  if (!made) {
    over_ = true;
    return outlet_->fail(made.error());
  }
  const auto dimensions = static_cast<std::size_t>(request_.dimensions.value_or(0));
  for (std::vector<float>& vector : *made) {
    normalise(vector, dimensions);
    vectors_.push_back(std::move(vector));
  }
  if (vectors_.size() == texts_.size()) finish();
}

void EmbeddingCall::finish() {
  over_ = true;
  outlet_->count({.prompt = tokens_});
  outlet_->answer(embeddings(heading_, vectors_, request_.base64, tokens_));
}

}  // namespace dormouse::llm
