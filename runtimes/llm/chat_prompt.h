// A chat as one text for the model, by the template that the model brings, and what the answer has
// to look like. Templates are programs that whoever made the model wrote: they run in a process of
// their own, with a limit (renderer.h).
//
// Errors  invalid_argument: the template refuses these messages, with its own words, or has not
//         come to an end. unsupported, too_large: the request asks for what it does not know of, or
//         for too much.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "runtimes/llm/model.h"
#include "runtimes/llm/request.h"

struct common_chat_templates;

namespace dormouse::llm {

struct Trigger {  // Of a grammar that holds only from there on. llama.cpp's kinds of them.
  int type = 0;
  std::string value;
  Token token = -1;
};

// Stands in a prompt after the first character of what a message says itself that would be a
// control token: the text is cut there before it becomes tokens, so that nobody can speak for
// another. It is a code point that is no character.
inline constexpr std::string_view mark_break = "\xF4\x8F\xBF\xBE";
std::string without_marks(std::string_view said, const std::vector<std::string>& marks);

struct ChatPrompt {
  std::string text;     // With mark_break where it is to be cut.
  std::string grammar;  // GBNF; "": none.
  bool of_tools = false;
  bool lazy = false;
  std::vector<Trigger> triggers;
  std::vector<std::string> kept_tokens;  // Marks that the parser has to see.
  std::vector<std::string> stops;
  // Around what is only thought, where no grammar of tools begins; "" and none: nothing is.
  std::string thinking_start;
  std::vector<std::string> thinking_ends;
  // How the answer is read; an empty parser: all of it is what is said.
  std::string parser;
  int format = 0;
  std::string begun;  // What of the answer the prompt has said already.
};

// Of one schema's grammar, of which each token is held against as much as may follow; and of all
// tools', of which one is called at a time.
inline constexpr std::size_t grammar_bytes_max = 64 << 10, tools_grammar_bytes_max = 512 << 10;

class ChatTemplates {
 public:
  // Reads them, or `source` instead.
  static Result<std::unique_ptr<ChatTemplates>> read(const Model&, const std::string& source = "");
  ~ChatTemplates();

  Result<ChatPrompt> apply(const Request&) const;

 private:
  ChatTemplates() = default;
  ChatPrompt rendered(const Request&) const;  // Throws what llama.cpp throws; so does
  ChatPrompt loosened(ChatPrompt, const Request&) const;

  struct Free {
    void operator()(common_chat_templates*) const;
  };
  std::unique_ptr<common_chat_templates, Free> templates_;
  const llama_vocab* vocabulary_ = nullptr;
  std::string source_;
  std::vector<std::string> marks_;
  bool thinks_ = false;  // Its answers may have a part that is thought and not said.
  bool calls_tools_ = false;
};

// For the way from a process that has run a template, which may say anything: an error is the
// caller's, by one of the codes above, or else invalid_argument.
std::string encode(const Result<ChatPrompt>&);
Result<ChatPrompt> decode_chat_prompt(std::string_view);

}  // namespace dormouse::llm
