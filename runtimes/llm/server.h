// The language model's worker: loads a model, may be forked with it, and serves many invocations
// at a time over one socket. docs/formats/wire.md; the options of `load`:
//
//   "model"        the file, relative to the revision's folder ("model.gguf")
//   "concurrency"  sequences at a time    "threads"  that compute
//   "llm.context"  tokens of a sequence   "llm.weights"  "memory" or "mapped"
//   "llm.pooling"  "none", "mean", "cls", "last"; "": as the model says
//   "llm.chat_template"  a file likewise; "": what the model brings
//   "template"     "yes": fork instances of it
#pragma once

#include <chrono>
#include <string>

namespace dormouse::llm {

// A step that takes longer is worth it: a stream's tokens are announced before they are chosen
// (docs/decisions/026-a-token-is-announced.md).
inline constexpr std::chrono::milliseconds worth_announcing{2};

// Until the daemon says drain or goes away. Gives the process's exit status.
int serve(int socket, std::string code_folder,
          std::chrono::nanoseconds announces_after = worth_announcing);

}  // namespace dormouse::llm
