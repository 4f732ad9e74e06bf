// What a conversation leaves behind when it sleeps: its tokens, and what the model computed for
// them. docs/formats/conversation.md has the form. Pure.
//
// Errors  invalid_argument: it is none, or of another version of llama.cpp.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "runtimes/llm/model.h"

namespace dormouse::llm {

struct KeptConversation {
  std::vector<Token> tokens;
  std::size_t computed = 0;  // So many of them; the last that was said may not be.
  Bytes state;               // llama.cpp's own, which follows the head to the end of the file.
  std::shared_ptr<const void> file;  // Holds the bytes of the state, if somebody has to.
};

// What stands before the state.
std::string conversation_head(std::span<const Token>, std::size_t computed);
Result<KeptConversation> read_conversation(Bytes file);

// The tokens of a text that begins with what `known` say: those, and what follows them. Words that
// were generated may have other tokens than those that the text would be cut into. Otherwise: the
// text's own.
std::vector<Token> continued(const Model&, std::span<const Token> known, std::string_view text);

}  // namespace dormouse::llm
