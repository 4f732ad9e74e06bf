// Which weights llama.cpp packs anew as it loads a model, into memory of its own, for this
// processor: its back end is asked, as llama.cpp asks it (llama-model-loader.cpp), for that depends
// on what instructions there are. With the others it computes where it has mapped them.
//
// Threads  One. The library is open.
#pragma once

#include <ggml-backend.h>

#include <vector>

#include "runtimes/llm/gguf_header.h"

namespace dormouse::llm {

class Packing {
 public:
  Packing();

  // Wrong at worst about a tensor of an unusual use: it is taken for what is multiplied with.
  bool packs(const GgufTensor&) const;

 private:
  ggml_backend_dev_t device_;
  std::vector<ggml_backend_buffer_type_t> kinds_;  // Of memory for packed weights.
};

}  // namespace dormouse::llm
