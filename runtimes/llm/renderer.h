// Renders chats in a process of its own, a fork of this one, which has no socket but the one to
// here, little more memory than it began with, and a limit on processor time: a template that loops
// or grows without end costs that process, and one request an error.
//
// Threads    One.
// Errors     invalid_argument: what the template says against the request, or that it came to no
//            end, or died; unsupported, too_large: as chat_prompt.h says; unavailable: no process.
#pragma once

#include <sys/types.h>

#include <string_view>

#include "base/result.h"
#include "runtimes/llm/chat_prompt.h"
#include "wire/socket.h"

namespace dormouse::llm {

class Renderer {
 public:
  // Without `templates` the process reads those of the model itself, or `source`, which may not be
  // trusted yet. `other` is a descriptor that it closes; -1: none.
  Renderer(const Model* model, const ChatTemplates* templates, int other, std::string source = "")
      : model_(model), templates_(templates), other_(other), source_(std::move(source)) {}
  ~Renderer() { stop(); }
  Renderer(const Renderer&) = delete;
  Renderer& operator=(const Renderer&) = delete;

  Result<> start();  // Otherwise with the first render().
  // `body` is a chat's request.
  Result<ChatPrompt> render(std::string_view body);

 private:
  Result<std::string> ask(std::string_view body, int patience_ms);
  Error ended();
  void stop();

  const Model* const model_;
  const ChatTemplates* const templates_;
  const int other_;
  const std::string source_;
  pid_t process_ = 0;
  wire::Descriptor socket_;
};

}  // namespace dormouse::llm
