#include "runtimes/llm/choice.h"

#include <algorithm>

namespace dormouse::llm {
namespace {

std::vector<std::string> stops_of(const Request& request, const ChatPrompt* prompt) {
  std::vector<std::string> stops = request.stop;
  if (prompt != nullptr) stops.insert(stops.end(), prompt->stops.begin(), prompt->stops.end());
  return stops;
}

// Of text that is UTF-8.
std::size_t characters(std::string_view text) {
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

Choice::Choice(Listener* listener, const Model* model, std::size_t index, std::vector<Token> prompt,
               std::unique_ptr<Sampler> sampler, const Request& request, const ChatPrompt* chat)
    : Run(std::move(prompt)),
      listener_(listener),
      model_(model),
      index_(index),
      sampler_(std::move(sampler)),
      text_(stops_of(request, chat)),
      reader_(chat),
      logprobs_(request.logprobs),
      tokens_max_(static_cast<std::size_t>(model->context_tokens()) - prompt_tokens()),
      ignores_end_(request.sampling.ignore_eos),
      shows_marks_(chat != nullptr && !chat->parser.empty()),
      calls_once_(!request.parallel_tool_calls) {
  if (request.tokens_max) {
    tokens_max_ = std::min(tokens_max_, static_cast<std::size_t>(*request.tokens_max));
  }
}

std::optional<Token> Choice::next(std::int32_t row) {
  const auto chosen = sampler_->choose(row);
  if (!chosen) {
    listener_->failed(*this, chosen.error());
    return std::nullopt;
  }
  const Token token = *chosen;
  ++generated_;
  if (model_->ends(token) && !ignores_end_) {
    finish(Finish::stop);
    return std::nullopt;
  }
  const std::string piece = model_->piece(token, shows_marks_);
  if (logprobs_) report(row, token, piece);
  std::string text = text_.add(piece);
  if (logprobs_) free_characters_ += characters(text);
  say(reader_.add(std::move(text)));
  // The grammars of some templates let one call follow another, whatever is asked for.
  const bool has_called = calls_once_ && reader_.has_whole_call();
  const bool stops = text_.stopped() || has_called;
  if (!stops && generated_ < tokens_max_) return token;
  if (!text_.stopped()) tail_ = {token};
  finish(stops ? Finish::stop : Finish::length);
  return std::nullopt;
}

void Choice::say(Delta delta) {
  if (calls_once_) std::erase_if(delta.calls, [](const ToolCall& call) { return call.index > 0; });
  listener_->said(*this, std::move(delta));
}

void Choice::finish(Finish why) {
  sampler_.reset();  // It is as large as the vocabulary, and others of this call may run for long.
  const bool is_over = text_.stopped() || (calls_once_ && reader_.has_whole_call());
  if (text_.stopped()) {
    reports_.clear();  // Of the stop sequence.
  } else {
    free_characters_ = characters_ + 1;  // All of it; the last may be part of a character.
  }
  Delta delta = reader_.end(is_over ? "" : text_.rest());
  if (!delta.empty() || !reports_.empty()) say(std::move(delta));
  listener_->ended(*this, why == Finish::stop && reader_.called() ? Finish::tool_calls : why);
}

std::vector<TokenReport> Choice::take_reports() {
  const auto held = std::ranges::lower_bound(reports_, free_characters_, {}, &TokenReport::offset);
  std::vector<TokenReport> free(std::move_iterator(reports_.begin()), std::move_iterator(held));
  reports_.erase(reports_.begin(), held);
  return free;
}

void Choice::report(std::int32_t row, Token chosen, std::string_view piece) {
  const auto likelihoods = sampler_->likelihoods(row, chosen, *logprobs_);
  TokenReport report{.text = model_->piece(chosen, true),
                     .offset = characters_,
                     .logarithm = likelihoods.front().logarithm};
  characters_ += characters(reported_.add(piece));
  for (const Likelihood& one : std::span(likelihoods).subspan(1)) {
    report.likeliest.emplace_back(model_->piece(one.token, true), one.logarithm);
  }
  reports_.push_back(std::move(report));
}

}  // namespace dormouse::llm
