// How llama.cpp loads models here: its memory in large pieces, and on how many threads.
//
// What is to be zero, and has not read anything into it, is taken from the kernel only when it is
// used: llama.cpp itself writes every zero, of a context's memory of a gigabyte soon, at each
// start. For this, for huge pages and for a second thread, the program has functions of its own in
// the place of those that llama.cpp's libraries call: ggml_backend_buffer_clear,
// ggml_backend_tensor_set, posix_memalign, mmap, and gguf_kv_to_str, which makes text of every
// number of a vocabulary for a log.
#pragma once

#include <cstddef>
#include <memory>
#include <thread>
#include <vector>

#include "runtimes/llm/second_thread.h"

namespace dormouse::llm {

// While one lives, llama.cpp loads a model. Large pieces go into huge pages, which are filled
// faster, and forked faster: they are for weights, which are there as a whole; what a context holds
// is used piece by piece. One at a time, on the thread that loads.
class Loading {
 public:
  // With a helper, second threads take pages from the kernel from their ends on, while the first
  // fills them from their beginnings, and pack half of the weights. They have ended when this is
  // destroyed.
  explicit Loading(bool has_helper);
  ~Loading();
  Loading(const Loading&) = delete;
  Loading& operator=(const Loading&) = delete;

  SecondThread* packer() const { return packer_.get(); }  // nullptr: without a helper.
  void take(void* begin, std::size_t size);

 private:
  const std::unique_ptr<SecondThread> packer_;
  std::vector<std::jthread> takers_;
};

}  // namespace dormouse::llm
