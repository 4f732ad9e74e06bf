// One model and the one context that all its sequences share.
//
// Ownership  Whoever opens it; what it gives out lives as long as it does.
// Threads    open() leaves none behind, so that a fork of its process has all of it.
//            start_threads() is for the process that computes. One thread uses a Model.
// Errors     invalid_argument: the file is no model, or the settings do not fit it, with the
//            setting's name before a colon. unsupported: it is a model, and none for this.
//            function_failed: it cannot be read, or there is no memory.
#pragma once

#include <llama-cpp.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "runtimes/llm/request.h"
#include "wire/messages.h"

namespace dormouse::llm {

struct GgufHeader;

struct Settings {
  std::string path;
  std::int32_t context = 0;  // Tokens of one sequence; 0: what the model was trained with, at most
                             // context_default.
  std::int32_t sequences = 1;  // At a time.
  std::int32_t threads = 1;
  bool mapped = false;  // Weights stay in the file; otherwise they are brought into memory, in the
                        // order that this processor computes best with.
  std::string pooling;  // "", "none", "mean", "cls", "last": how tokens become one vector; "": as
                        // the model says.
  std::string device;   // What computes, and holds weights and context; "": this processor.
};

inline constexpr std::int32_t context_default = 4096;
inline constexpr std::int32_t sequences_max = 64;

class Model {
 public:
  static Result<std::unique_ptr<Model>> open(const Settings&);
  ~Model();

  void start_threads();

  bool embeds() const { return embeds_; }  // It gives vectors; otherwise text.
  std::int32_t context_tokens() const { return context_tokens_; }
  std::int32_t sequences() const { return settings_.sequences; }
  std::int32_t batch_tokens() const { return batch_tokens_; }
  bool forgets_partly() const {
    return forgets_partly_;
  }  // The end of a sequence can be taken off.

  llama_context* context() const { return context_.get(); }
  const llama_model* model() const { return model_.get(); }
  const llama_vocab* vocabulary() const { return vocabulary_; }
  llama_memory_t memory() const { return llama_get_memory(context_.get()); }

  // `marked`: special tokens that are written out in the text are those tokens. `whole`: with what
  // the model wants at a text's ends.
  std::vector<Token> tokens(std::string_view text, bool marked, bool whole = true) const;
  // The bytes that it says: "" for one that only marks something, unless `marks` asks for its name.
  std::string piece(Token, bool marks = false) const;
  bool ends(Token token) const { return llama_vocab_is_eog(vocabulary_, token); }
  bool has(Token token) const;
  // Whether so many bytes of text surely are more tokens than its context has.
  bool overflows(std::size_t bytes) const;
  const std::vector<Token>& end_tokens() const { return end_tokens_; }
  // What control tokens are written as: "<|im_end|>".
  const std::vector<std::string>& marks() const { return marks_; }

  wire::Options notes() const;  // What a person should know of it.
  // The least that it holds of this machine's memory when all of its context is full.
  std::uint64_t full_bytes() const;
  // What to warn of if an instance may hold so much; "" if it is enough.
  std::string shortage(std::uint64_t memory_bytes) const;

 private:
  std::uint64_t context_bytes() const;
  explicit Model(const Settings&);
  Result<> load(const GgufHeader&);
  std::string description() const;
  std::string weights() const;  // Where they are, and what they take there and elsewhere.
  Result<> make_context();

  struct Threads;

  Settings settings_;
  llama_model_ptr model_;
  llama_context_ptr context_;
  std::unique_ptr<Threads> threads_;
  const llama_vocab* vocabulary_ = nullptr;
  std::vector<Token> end_tokens_;
  std::vector<std::string> marks_;
  std::size_t token_bytes_max_ = 1;
  std::int32_t context_tokens_ = 0;
  std::int32_t batch_tokens_ = 0;
  bool embeds_ = false;
  bool forgets_partly_ = false;
};

}  // namespace dormouse::llm
