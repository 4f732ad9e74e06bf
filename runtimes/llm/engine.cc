#include "runtimes/llm/engine.h"

#include <algorithm>
#include <exception>
#include <new>

#include "base/check.h"
#include "runtimes/llm/library.h"
#include "runtimes/llm/scratch.h"

namespace dormouse::llm {

namespace {

// What comes back of a layer with a window is the window, and of a recurrent one its end.
bool comes_back_whole(const Model& model) {
  return model.forgets_partly() && llama_model_n_swa(model.model()) <= 0;
}

}  // namespace

Engine::Engine(Model* model, std::uint64_t aside_bytes)
    : model_(model),
      batch_(llama_batch_init(model->batch_tokens(), 0, 1)),
      slots_(static_cast<std::size_t>(model->sequences())),
      running_(slots_.size(), nullptr),
      held_(slots_.size()),
      aside_(comes_back_whole(*model) ? aside_bytes : 0),
      pace_(model->batch_tokens()) {
}

Engine::~Engine() {
  llama_batch_free(batch_);
}

void Engine::add(Run* run) {
  CHECK(!run->tokens_.empty());
  waiting_.push_back(run);
}

void Engine::remove(Run* run) {
  std::erase(waiting_, run);
  const auto slot = running_slot(run);
  if (slot) end(*slot);
}

std::optional<std::size_t> Engine::running_slot(const Run* run) const {
  const auto found = std::ranges::find(running_, run);
  if (run == nullptr || found == running_.end()) return std::nullopt;
  return static_cast<std::size_t>(found - running_.begin());
}

bool Engine::has_work() const {
  const bool has_room = std::ranges::any_of(slots_, [](const Slot& slot) { return !slot.busy; });
  return (has_room && !waiting_.empty()) ||
         std::ranges::any_of(running_, [](const Run* run) { return run && !run->stalled(); });
}

void Engine::hold(std::size_t slot) {
  slots_[slot].busy = held_[slot] = true;
}

void Engine::let_go(std::size_t slot) {
  held_[slot] = false;
  slots_[slot].busy = running_[slot] != nullptr;
}

void Engine::admit() {
  bool has_begun = false;
  while (!waiting_.empty()) {
    Run* const run = waiting_.front();
    auto where = place(slots_, run->tokens_);
    if (!where) break;
    const auto kept = std::exchange(run->kept_, nullptr);
    for (const auto& known : {aside_.find(run->tokens_, where->tokens), kept}) {
      if (!known) continue;
      recall(*known, run->tokens_, where->tokens);
      where = place(slots_, run->tokens_);
    }
    waiting_.pop_front();
    save_what_is_lost(*where, run->tokens_);
    begin(run, *where);
    has_begun = true;
  }
  if (has_begun) put_aside_what_is_idle();
}

// What stands where another one is to begin, but for an end that is the smaller part.
void Engine::save_what_is_lost(const Place& where, std::span<const Token> prompt) {
  const std::vector<Token>& there = slots_[where.slot].tokens;
  if (there.empty() || reusable(there, prompt) * 2 >= there.size()) return;
  if (where.source != where.slot) return put_aside(where.slot);
  (void)keep_aside(where.slot);
}

void Engine::put_aside_what_is_idle() {
  for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
    if (!slots_[slot].busy && !slots_[slot].tokens.empty()) put_aside(slot);
  }
}

// False: there is no room for it.
bool Engine::keep_aside(std::size_t slot) {
  constexpr std::uint64_t least = 1;
  const std::vector<Token>& tokens = slots_[slot].tokens;
  if (!aside_.may_hold(least)) return false;
  if (aside_.holds(tokens)) return true;
  const std::uint64_t bytes = state_bytes(slot);
  if (!aside_.may_hold(bytes)) return false;
  aside_.make_room(tokens, bytes);
  const std::shared_ptr<std::byte[]> state(new (std::nothrow) std::byte[bytes]);
  if (!state || !save(slot, {state.get(), bytes})) return false;
  aside_.put(tokens, state, bytes);
  return true;
}

// What there is no room for stays.
void Engine::put_aside(std::size_t slot) {
  if (!keep_aside(slot)) return;
  llama_memory_seq_rm(model_->memory(), sequence(slot), -1, -1);
  slots_[slot].tokens.clear();
}

void Engine::begin(Run* run, const Place& where) {
  Slot& slot = slots_[where.slot];
  std::size_t kept = worth_reusing(where.tokens, run->tokens_.size());
  auto keep = static_cast<llama_pos>(kept);
  const bool takes_over = where.source != where.slot;
  // A layer with a window has let go of what lies behind it.
  const llama_pos window = llama_model_n_swa(model_->model());
  const bool is_part = kept < slots_[where.source].tokens.size();
  if (window > 0 && is_part &&
      llama_memory_seq_pos_min(model_->memory(), sequence(where.source)) >
          std::max(0, keep - window)) {
    kept = 0;
    keep = 0;
  }
  const bool cut = model_->forgets_partly() || (!takes_over && kept == slot.tokens.size());
  if (!cut) kept = 0;
  if (takes_over || !cut) {
    llama_memory_seq_rm(model_->memory(), sequence(where.slot), -1, -1);
    if (cut && kept > 0) {
      llama_memory_seq_cp(model_->memory(), sequence(where.source), sequence(where.slot), 0, keep);
    }
  } else if (kept < slot.tokens.size() &&
             !llama_memory_seq_rm(model_->memory(), sequence(where.slot), keep, -1)) {
    llama_memory_seq_rm(model_->memory(), sequence(where.slot), -1, -1);
    kept = 0;
  }
  slot.tokens.assign(run->tokens_.begin(),
                     run->tokens_.begin() + static_cast<std::ptrdiff_t>(kept));
  slot.busy = true;
  run->reused_ = kept;
  run->slot_ = where.slot;
  running_[where.slot] = run;
}

// Puts it into the slot that was idle longest, if the prompt begins with more of it than `known`
// tokens, which a slot has. There is one that is idle.
void Engine::recall(const KeptConversation& kept, std::span<const Token> prompt,
                    std::size_t known) {
  const std::span<const Token> computed = std::span(kept.tokens).first(kept.computed);
  if (reusable(computed, prompt) <= known) return;
  const std::size_t slot = place(slots_, {})->slot;
  if (!slots_[slot].tokens.empty()) put_aside(slot);
  llama_memory_seq_rm(model_->memory(), sequence(slot), -1, -1);
  slots_[slot].tokens.clear();
  const auto* const bytes = reinterpret_cast<const std::uint8_t*>(kept.state.data());
  const std::size_t read =
      llama_state_seq_set_data(model_->context(), bytes, kept.state.size(), sequence(slot));
  if (read > 0 && read == kept.state.size()) {
    slots_[slot].tokens.assign(computed.begin(), computed.end());
  } else {  // It is none of this model's.
    llama_memory_seq_rm(model_->memory(), sequence(slot), -1, -1);
  }
}

void Engine::end(std::size_t slot) {
  running_[slot] = nullptr;
  slots_[slot].busy = held_[slot];
  slots_[slot].last_used = ++clock_;
}

// Adds the slot's next token to the batch.
void Engine::append(std::size_t slot, bool wants_logits) {
  const auto row = static_cast<std::size_t>(batch_.n_tokens++);
  std::vector<Token>& computed = slots_[slot].tokens;
  const Token token = running_[slot]->tokens_[computed.size()];
  batch_.token[row] = token;
  batch_.pos[row] = static_cast<llama_pos>(computed.size());
  batch_.n_seq_id[row] = 1;
  batch_.seq_id[row][0] = sequence(slot);
  batch_.logits[row] = wants_logits ? 1 : 0;
  computed.push_back(token);
}

// What the slot has to compute, as far as so many tokens have room in the batch: the one that was
// chosen last, or, if `prompts`, more of a prompt.
void Engine::fill(std::size_t slot, bool prompts, std::int32_t tokens_max) {
  const Run* const run = running_[slot];
  if (run == nullptr || run->stalled()) return;
  const std::size_t left = run->tokens_.size() - slots_[slot].tokens.size();
  if ((left > 1) != prompts) return;
  const auto room = static_cast<std::size_t>(std::max(tokens_max - batch_.n_tokens, 0));
  const std::size_t count = std::min(left, room);
  for (std::size_t i = 0; i < count; ++i) append(slot, i + 1 == left);
  if (count > 0 && count == left) rows_.push_back({slot, batch_.n_tokens - 1});
}

Result<> Engine::step() {
  admit();
  batch_.n_tokens = 0;
  rows_.clear();
  const std::int32_t most = model_->batch_tokens();
  for (std::size_t slot = 0; slot < slots_.size(); ++slot) fill(slot, false, most);
  // Who is read alone may take longer than others would wait.
  const std::int32_t read =
      batch_.n_tokens == 0 ? most : std::min(most, batch_.n_tokens + pace_.tokens());
  for (std::size_t slot = 0; slot < slots_.size(); ++slot) fill(slot, true, read);
  if (batch_.n_tokens == 0) return ok;
  last_complaint();
  const auto began = std::chrono::steady_clock::now();
  const std::int32_t status = llama_decode(model_->context(), batch_);
  llama_synchronize(model_->context());  // A card may compute on.
  const auto took = std::chrono::steady_clock::now() - began;
  pace_.took(batch_.n_tokens, took);
  if (status != 0) {
    forget_scratch();
    const Error error{Code::function_failed, "llama.cpp could not compute (" +
                                                 std::to_string(status) + ") " + last_complaint()};
    fail_all(error);
    return error;
  }
  if (on_computed_) on_computed_(took);
  for (const Row& row : rows_) advance(row);
  return ok;
}

void Engine::advance(const Row& row) {
  Run* const run = running_[row.slot];
  if (run == nullptr) return;  // Another one's word took it out.
  std::optional<Token> token;
  try {
    token = run->next(row.row);
  } catch (const std::exception& failure) {  // Of llama.cpp's: it costs this one.
    run->fail({Code::function_failed, failure.what()});
  }
  if (token) {
    run->tokens_.push_back(*token);
  } else if (running_[row.slot] == run) {
    end(row.slot);
  }
}

// What a batch that failed has left of the sequences is not known.
void Engine::fail_all(const Error& error) {
  llama_memory_clear(model_->memory(), true);
  std::vector<Run*> all(waiting_.begin(), waiting_.end());
  std::ranges::copy_if(running_, std::back_inserter(all), [](Run* run) { return run != nullptr; });
  waiting_.clear();
  for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
    slots_[slot].tokens.clear();
    end(slot);
  }
  for (Run* const run : all) run->fail(error);
}

std::uint64_t Engine::state_bytes(std::size_t slot) const {
  return llama_state_seq_get_size(model_->context(), sequence(slot));
}

bool Engine::save(std::size_t slot, std::span<std::byte> to) const {
  auto* const bytes = reinterpret_cast<std::uint8_t*>(to.data());
  return llama_state_seq_get_data(model_->context(), bytes, to.size(), sequence(slot)) == to.size();
}

}  // namespace dormouse::llm
