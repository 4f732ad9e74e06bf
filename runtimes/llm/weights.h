// Brings the weights that llama.cpp computes with in the file, where it has mapped it, into memory
// in the same place: what nobody has used for a while, a node drops from files, and not from
// memory.
#pragma once

#include <llama.h>
#include <sys/types.h>

#include <cstddef>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "runtimes/llm/gguf_header.h"
#include "wire/socket.h"

namespace dormouse::llm {

class FileCopy;
struct Pages;

class Weights {
 public:
  // With a helper, a second thread begins to read at once what llama.cpp will most likely leave in
  // the file, while the first has llama.cpp read the rest of it. It has ended after bring().
  Weights(const std::string& path, const GgufHeader&, bool has_helper);
  ~Weights();
  Weights(const Weights&) = delete;
  Weights& operator=(const Weights&) = delete;

  // Once, of the model that was loaded from the file. function_failed: it cannot be read, or there
  // is no memory.
  Result<> bring(const llama_model*);

  // After bring(): of what there was to bring, what was read when it came to it, and what was not
  // yet; and what was read that it was not there for, but for what fills its pages.
  std::size_t bytes_ahead() const { return bytes_ahead_; }
  std::size_t bytes_late() const { return bytes_late_; }
  std::size_t bytes_in_vain() const { return bytes_in_vain_; }

 private:
  void read_ahead(const GgufHeader&);
  Result<> bring_late(off_t offset, const Pages& place);

  const bool has_helper_;
  wire::Descriptor file_;
  std::vector<std::unique_ptr<FileCopy>> ahead_;
  std::jthread helper_;
  std::size_t bytes_ahead_ = 0, bytes_late_ = 0, bytes_in_vain_ = 0;
};

}  // namespace dormouse::llm
