#include <sys/random.h>

#include <algorithm>
#include <utility>

#include "base/utf8.h"
#include "runtimes/llm/call.h"
#include "runtimes/llm/conversation.h"

namespace dormouse::llm {
namespace {

std::uint32_t random_seed() {
  std::uint32_t seed = 0;
  (void)getrandom(&seed, sizeof seed, 0);
  return seed == LLAMA_DEFAULT_SEED ? 0 : seed;  // That one means "at random" to llama.cpp.
}

class GeneratingCall final : public Call, public Choice::Listener {
 public:
  GeneratingCall(Engine* engine, Outlet* outlet, Heading heading, bool is_kept)
      : engine_(engine), outlet_(outlet), heading_(std::move(heading)), is_kept_(is_kept) {}
  ~GeneratingCall() override {
    withdraw();
    if (held_) engine_->let_go(*held_);
  }
  bool over() const override { return over_; }
  std::optional<std::size_t> take_slot() override {
    return failed_ ? std::nullopt : std::exchange(held_, std::nullopt);
  }
  std::span<const Token> tail() const override { return choices_.front()->tail(); }

  Result<> start(Model* model, const Request& request, std::vector<std::vector<Token>> prompts,
                 const ChatPrompt* chat, std::shared_ptr<const KeptConversation> kept) {
    siblings_ = static_cast<std::size_t>(request.choices);
    for (std::vector<Token>& prompt : prompts) {
      echoes_.push_back(request.echo ? echo_of(*model, prompt) : "");
      for (std::size_t i = 0; i < siblings_; ++i) {
        // A seed gives the same answers again, not the same one to each choice.
        const std::uint32_t first = request.sampling.seed.value_or(random_seed());
        const std::uint32_t seed = first + static_cast<std::uint32_t>(i);
        auto sampler = Sampler::make(model, request.sampling, chat, seed);
        if (!sampler) return std::move(sampler).error();
        choices_.push_back(std::make_unique<Choice>(this, model, choices_.size(), prompt,
                                                    std::move(*sampler), request, chat));
      }
    }
    choices_.front()->recall(std::move(kept));
    said_.resize(choices_.size());
    begun_.resize(choices_.size());
    ended_.resize(choices_.size());
    if (heading_.stream) outlet_->begin_stream();
    // The others begin when the first of a prompt has computed it.
    for (std::size_t i = 0; i < choices_.size(); i += siblings_) engine_->add(choices_[i].get());
    return ok;
  }

 private:
  static std::string echo_of(const Model& model, const std::vector<Token>& prompt) {
    std::string text;
    for (const Token token : prompt) text += model.piece(token);
    return valid_utf8(text);  // A token may be part of a character.
  }

  // The first word of a choice.
  void begin(const Choice& choice) {
    const std::size_t index = choice.index();
    begun_[index] = true;
    if (index % siblings_ != 0) return;
    usage_.prompt += choice.prompt_tokens();
    usage_.reused += choice.reused_tokens();
    for (std::size_t i = 1; i < siblings_; ++i) engine_->add(choices_[index + i].get());
  }

  void said(Choice& choice, Delta delta) override {
    const std::size_t index = choice.index();
    const bool first = !begun_[index];
    if (first) begin(choice);
    if (first) delta.content.insert(0, echoes_[index / siblings_]);
    std::vector<TokenReport> reports = choice.take_reports();
    if (!heading_.stream) {
      add(said_[index], std::move(delta));
      std::ranges::move(reports, std::back_inserter(said_[index].reports));
      return;
    }
    if (!first && delta.empty() && reports.empty()) return;
    outlet_->send(event(heading_, index, first, delta, reports));
    outlet_->count(usage());
  }

  void ended(Choice& choice, Finish finish) override {
    const std::size_t index = choice.index();
    if (!begun_[index]) said(choice, {});
    ended_[index] = true;
    said_[index].finish = finish;
    // One that waits for a slot may wait for this one.
    const bool all_have_begun = std::ranges::find(begun_, false) == begun_.end();
    if (index == 0 && is_kept_ && all_have_begun) hold(*choice.slot());
    if (heading_.stream) outlet_->send(final_event(heading_, index, finish));
    if (std::ranges::find(ended_, false) == ended_.end()) close();
  }

  // Before the engine gives it to the next in the queue.
  void hold(std::size_t slot) {
    engine_->hold(slot);
    held_ = slot;
  }

  void failed(Choice&, const Error& error) override {
    if (over_) return;
    over_ = failed_ = true;
    withdraw();
    outlet_->count(usage());
    outlet_->fail(error);
  }

  bool stalled() const override { return outlet_->stalled(); }

  void close() {
    over_ = true;
    outlet_->count(usage());
    if (!heading_.stream) return outlet_->answer(completion(heading_, said_, usage()));
    outlet_->send(closing_events(heading_, usage()));
    outlet_->end_stream();
  }

  void withdraw() {
    for (const auto& choice : choices_) engine_->remove(choice.get());
  }

  // A prompt counts once, when it was read, however many choices it has.
  Usage usage() const {
    Usage usage = usage_;
    for (const auto& choice : choices_) usage.generated += choice->generated();
    return usage;
  }

  Engine* const engine_;
  Outlet* const outlet_;
  const Heading heading_;
  const bool is_kept_;
  std::optional<std::size_t> held_;
  std::size_t siblings_ = 1;
  std::vector<std::unique_ptr<Choice>> choices_;  // Those of one prompt follow each other.
  std::vector<std::string> echoes_;               // By prompt.
  std::vector<Said> said_;
  std::vector<bool> begun_, ended_;
  Usage usage_;
  bool over_ = false, failed_ = false;
};

Result<std::vector<std::vector<Token>>> prompts_of(const Model& model, const Request& request,
                                                   const ChatPrompt& chat,
                                                   const KeptConversation* kept) {
  std::vector<std::vector<Token>> prompts;
  if (request.operation == Operation::chat) {
    if (model.overflows(chat.text.size())) return overflow(model, "messages");
    // What marks a chat's parts in the text are tokens of their own.
    const auto known = kept ? std::span(kept->tokens) : std::span<const Token>();
    auto tokens = tokens_of(model, continued(model, known, chat.text), "messages");
    if (!tokens) return std::move(tokens).error();
    prompts.push_back(std::move(*tokens));
    return prompts;
  }
  for (std::size_t i = 0; i < request.texts.size(); ++i) {
    const std::string field =
        request.texts.size() == 1 ? "prompt" : "prompt[" + std::to_string(i) + "]";
    auto tokens = tokens_of(model, request.texts[i], field);
    if (!tokens) return std::move(tokens).error();
    prompts.push_back(std::move(*tokens));
  }
  return prompts;
}

}  // namespace

Result<std::unique_ptr<Call>> generate(Model* model, Engine* engine, Renderer* renderer,
                                       Outlet* outlet, const Invocation& invocation,
                                       Request request) {
  if (request.operation == Operation::embedding) {
    return Error{Code::unsupported,
                 "model: it generates text; deploy it with `llm.pooling` to make vectors of texts"};
  }
  ChatPrompt chat;
  const bool is_chat = request.operation == Operation::chat;
  if (is_chat && model->overflows(request.message_bytes)) {
    return overflow(*model, "messages");
  }
  if (is_chat) {
    auto rendered = renderer->render(invocation.body);
    if (!rendered) return std::move(rendered).error();
    chat = std::move(*rendered);
  }
  auto prompts = prompts_of(*model, request, chat, invocation.kept.get());
  if (!prompts) return std::move(prompts).error();
  auto call = std::make_unique<GeneratingCall>(engine, outlet, heading_of(invocation, request),
                                               invocation.is_kept);
  auto started =
      call->start(model, request, std::move(*prompts), is_chat ? &chat : nullptr, invocation.kept);
  if (!started) return std::move(started).error();
  return call;
}

}  // namespace dormouse::llm
