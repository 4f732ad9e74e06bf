// Reads what a model says as a chat's answer: what is said, what is only thought, which tools are
// called. Of most answers all is said, and nothing is read. A model need not keep to the form that
// its template promises: what it says then is content, and none of it is lost.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runtimes/llm/chat_prompt.h"

namespace dormouse::llm {

struct ToolCall {
  std::size_t index = 0;
  std::string id, name;   // With a call's first part only.
  std::string arguments;  // JSON; of a Delta, more of it.
};

// What came to it.
struct Delta {
  std::string content, thought;
  std::vector<ToolCall> calls;
  bool empty() const { return content.empty() && thought.empty() && calls.empty(); }
};

class MessageReader {
 public:
  explicit MessageReader(const ChatPrompt*);  // nullptr: no chat, all is content.
  ~MessageReader();

  Delta add(std::string text);
  Delta end(std::string rest);
  bool called() const;          // A tool.
  bool has_whole_call() const;  // And nothing of it is to come.

 private:
  struct Parsing;
  std::unique_ptr<Parsing> parsing_;
};

}  // namespace dormouse::llm
