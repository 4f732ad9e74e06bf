#include "runtimes/llm/sampler.h"

#include <sampling.h>

#include <time.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <exception>
#include <limits>
#include <numeric>
#include <span>

#include "base/time.h"

namespace dormouse::llm {
namespace {

void put_grammar(common_params_sampling& params, const Model& model, const ChatPrompt& prompt) {
  if (prompt.grammar.empty()) return;
  params.grammar = {
      prompt.of_tools ? COMMON_GRAMMAR_TYPE_TOOL_CALLS : COMMON_GRAMMAR_TYPE_OUTPUT_FORMAT,
      prompt.grammar};
  params.grammar_lazy = prompt.lazy;
  params.generation_prompt = prompt.begun;
  const auto tokens_of = [&](const std::string& mark) {
    return common_tokenize(model.vocabulary(), mark, false, true);
  };
  params.reasoning_budget_start = tokens_of(prompt.thinking_start);
  for (const std::string& mark : prompt.thinking_ends) {
    if (!mark.empty()) params.reasoning_budget_end.push_back(tokens_of(mark));
  }
  for (const std::string& mark : prompt.kept_tokens) {
    const auto tokens = tokens_of(mark);
    if (tokens.size() == 1) params.preserved_tokens.insert(tokens.front());
  }
  for (const Trigger& trigger : prompt.triggers) {
    common_grammar_trigger one;
    one.type = static_cast<common_grammar_trigger_type>(trigger.type);
    one.value = trigger.value;
    one.token = trigger.token;
    // A word that is one token is waited for as that, and as what others may spell together.
    const bool is_word = one.type == COMMON_GRAMMAR_TRIGGER_TYPE_WORD;
    const auto tokens = is_word ? tokens_of(one.value) : std::vector<Token>();
    if (tokens.size() == 1 && params.preserved_tokens.contains(tokens.front())) {
      common_grammar_trigger whole = one;
      whole.type = COMMON_GRAMMAR_TRIGGER_TYPE_TOKEN;
      whole.token = tokens.front();
      params.grammar_triggers.push_back(std::move(whole));
    }
    params.grammar_triggers.push_back(std::move(one));
  }
}

common_params_sampling params_of(const Model& model, const Sampling& wishes,
                                 const ChatPrompt* prompt, std::uint32_t seed) {
  common_params_sampling params;
  params.seed = seed;
  params.no_perf = true;
  // So little is none: logits over it would have no bounds.
  const float temperature = wishes.temperature < 1e-3F ? 0 : wishes.temperature;
  params.temp = temperature;
  params.top_p = wishes.top_p;
  params.min_p = wishes.min_p;
  params.top_k = temperature == 0 ? 1 : wishes.top_k;  // The likeliest needs no sorting.
  params.penalty_freq = wishes.frequency_penalty;
  params.penalty_present = wishes.presence_penalty;
  const bool penalises = wishes.frequency_penalty != 0 || wishes.presence_penalty != 0;
  params.penalty_last_n = penalises ? model.context_tokens() : 0;
  params.samplers = {COMMON_SAMPLER_TYPE_PENALTIES, COMMON_SAMPLER_TYPE_TOP_K,
                     COMMON_SAMPLER_TYPE_TOP_P, COMMON_SAMPLER_TYPE_MIN_P,
                     COMMON_SAMPLER_TYPE_TEMPERATURE};
  for (const auto& [token, bias] : wishes.logit_bias) params.logit_bias.push_back({token, bias});
  if (wishes.ignore_eos) {
    for (const Token end : model.end_tokens()) {
      params.logit_bias.push_back({end, -std::numeric_limits<float>::infinity()});
    }
  }
  if (prompt != nullptr) put_grammar(params, model, *prompt);
  return params;
}

// No token but the likeliest is chosen, whatever came before it.
bool is_greedy(const common_params_sampling& params) {
  return params.temp == 0 && params.penalty_last_n == 0 && params.grammar.grammar.empty();
}

// The first of the greatest. In steps that the compiler makes one instruction of.
std::size_t index_of_greatest(std::span<const float> values) {
  constexpr std::size_t lanes = 32;
  std::array<float, lanes> greatest;
  greatest.fill(-std::numeric_limits<float>::infinity());
  const std::size_t whole = values.size() - values.size() % lanes;
  for (std::size_t i = 0; i < whole; i += lanes) {
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      greatest[lane] = greatest[lane] < values[i + lane] ? values[i + lane] : greatest[lane];
    }
  }
  float most = std::ranges::max(greatest);
  for (const float value : values.subspan(whole)) most = most < value ? value : most;
  return static_cast<std::size_t>(std::ranges::find(values, most) - values.begin());
}

// The field of the request that a grammar is of; "": there is none.
std::string_view held_by(const ChatPrompt& prompt) {
  if (prompt.grammar.empty()) return "";
  return prompt.of_tools ? "tools" : "response_format";
}

Result<> check_grammar(const ChatPrompt& prompt) {
  if (!prompt.of_tools && prompt.grammar.size() > grammar_bytes_max) {
    return Error{Code::too_large, "response_format: its schema is too large; make it simpler"};
  }
  if (prompt.grammar.size() <= tools_grammar_bytes_max) return ok;
  return Error{Code::too_large,
               "tools: their parameters are too large to hold an answer to; send fewer tools, or "
               "leave out \"strict\" and \"tool_choice\""};
}

Duration time_of_this_thread() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::microseconds(now.tv_nsec / 1000);
}

}  // namespace

void Sampler::Free::operator()(common_sampler* sampler) const {
  common_sampler_free(sampler);
}

Sampler::Sampler(const Model* model, const Sampling& wishes, std::string_view held_by)
    : model_(model), held_by_(held_by), ruled_out_by_(held_by) {
  if (wishes.ignore_eos) ruled_out_by_ = "ignore_eos";
  if (!wishes.logit_bias.empty()) ruled_out_by_ = "logit_bias";
}

bool is_readable(const llama_vocab* vocabulary, const std::string& grammar) {
  llama_sampler* const read = llama_sampler_init_grammar(vocabulary, grammar.c_str(), "root");
  if (read != nullptr) llama_sampler_free(read);
  return read != nullptr;
}

Result<std::unique_ptr<Sampler>> Sampler::make(const Model* model, const Sampling& wishes,
                                               const ChatPrompt* prompt, std::uint32_t seed) {
  for (const auto& [token, bias] : wishes.logit_bias) {
    if (!model->has(token)) {
      return Error{Code::invalid_argument,
                   "logit_bias: the model has no token " + std::to_string(token)};
    }
  }
  auto params = params_of(*model, wishes, prompt, seed);
  if (prompt != nullptr) {
    if (auto good = check_grammar(*prompt); !good) return good.error();
  }
  const std::string_view by = prompt == nullptr ? std::string_view() : held_by(*prompt);
  std::unique_ptr<Sampler> sampler(new Sampler(model, wishes, by));
  if (is_greedy(params)) {
    for (const auto& one : params.logit_bias) sampler->biases_.emplace_back(one.token, one.bias);
    return sampler;
  }
  const Error unreadable =
      by.empty() ? Error{Code::function_failed, "llama.cpp could not make a sampler"}
                 : Error{Code::invalid_argument,
                         std::string(by) + ": it has a schema that cannot be followed"};
  // llama.cpp loses what it has begun where it cannot read a grammar: that is seen before.
  if (!by.empty() && !is_readable(model->vocabulary(), prompt->grammar)) return unreadable;
  try {
    sampler->chain_.reset(common_sampler_init(model->model(), params));
    if (!sampler->chain_) return unreadable;
    return sampler;
  } catch (const std::exception&) {
    return unreadable;
  }
}

std::span<const float> Sampler::logits(std::int32_t row) const {
  return {llama_get_logits_ith(model_->context(), row),
          static_cast<std::size_t>(llama_vocab_n_tokens(model_->vocabulary()))};
}

Result<Token> Sampler::likeliest(std::int32_t row) {
  std::span<const float> from = logits(row);
  if (!biases_.empty()) {
    biased_.assign(from.begin(), from.end());
    for (const auto& [token, bias] : biases_) biased_[static_cast<std::size_t>(token)] += bias;
    from = biased_;
  }
  const std::size_t index = index_of_greatest(from);
  if (index == from.size() || !std::isfinite(from[index])) return nothing_may_follow(row);
  return static_cast<Token>(index);
}

Error Sampler::nothing_may_follow(std::int32_t row) const {
  const auto is_finite = [](float logit) { return std::isfinite(logit); };
  if (ruled_out_by_.empty() || std::ranges::none_of(logits(row), is_finite)) {
    return {Code::function_failed, "the model finds no token likely"};
  }
  return {Code::invalid_argument,
          std::string(ruled_out_by_) + ": it leaves no token to go on with"};
}

Result<Token> Sampler::choose(std::int32_t row) {
  if (!chain_) return likeliest(row);
  constexpr Duration patience = std::chrono::milliseconds(250);
  const Duration began = held_by_.empty() ? Duration(0) : time_of_this_thread();
  const Token token = common_sampler_sample(chain_.get(), model_->context(), row);
  // To accept what was ruled out would end this process.
  const llama_token_data_array* const candidates =
      common_sampler_get_candidates(chain_.get(), false);
  const bool may_follow =
      candidates->selected >= 0 && std::isfinite(candidates->data[candidates->selected].logit);
  if (!may_follow) return nothing_may_follow(row);
  common_sampler_accept(chain_.get(), token, true);
  if (!held_by_.empty() && time_of_this_thread() - began > patience) {
    return Error{Code::invalid_argument,
                 std::string(held_by_) +
                     ": it takes too long to find out which token may follow; "
                     "make it simpler"};
  }
  return token;
}

std::vector<Likelihood> Sampler::likelihoods(std::int32_t row, Token chosen,
                                             std::int32_t count) const {
  const std::span<const float> from = logits(row);
  const auto logit_of = [from](Token token) { return from[static_cast<std::size_t>(token)]; };
  const float most = std::ranges::max(from);
  double sum = 0;
  for (const float logit : from) sum += std::exp(static_cast<double>(logit - most));
  const auto all = static_cast<float>(most + std::log(sum));

  const std::size_t wanted = std::min(static_cast<std::size_t>(count), from.size());
  std::vector<Token> order(wanted == 0 ? 0 : from.size());
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(wanted), order.end(),
                    [&](Token left, Token right) { return logit_of(left) > logit_of(right); });
  std::vector<Likelihood> likelihoods{{chosen, logit_of(chosen) - all}};
  for (std::size_t i = 0; i < wanted; ++i) {
    likelihoods.push_back({order[i], logit_of(order[i]) - all});
  }
  return likelihoods;
}

}  // namespace dormouse::llm
