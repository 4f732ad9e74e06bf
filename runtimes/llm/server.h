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

#include <string>

namespace dormouse::llm {

// Until the daemon says drain or goes away. Gives the process's exit status.
int serve(int socket, std::string code_folder);

}  // namespace dormouse::llm
