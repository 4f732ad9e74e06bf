// How this program gets the memory that llama.cpp wants in large pieces.
//
// What is to be zero, and has not read anything into it, is taken from the kernel only when it is
// used: llama.cpp itself writes every zero, of a context's memory of a gigabyte soon, at each
// start. For this, and for huge pages, the program has functions of its own in the place of
// those that llama.cpp's libraries call: ggml_backend_buffer_clear, posix_memalign, and mmap.
#pragma once

#include <llama.h>

#include <string>
#include <thread>
#include <vector>

#include "base/result.h"

namespace dormouse::llm {

// As long as one lives, large pieces go into huge pages, which are filled faster, and forked
// faster. For weights, which are there as a whole; what a context holds is used piece by piece. One
// at a time, on the thread that allocates.
class HugePages {
 public:
  // With a helper, a second thread takes them from the kernel from their ends on, while the first
  // fills them from their beginnings. It has ended when this is destroyed.
  explicit HugePages(bool has_helper);
  ~HugePages();
  HugePages(const HugePages&) = delete;
  HugePages& operator=(const HugePages&) = delete;

  void take(void* begin, std::size_t size);

 private:
  const bool has_helper_;
  std::vector<std::jthread> helpers_;
};

// Copies the weights that llama.cpp computes with in the file, where it has mapped it, into memory
// in the same place: what nobody has used for a while, a node drops from files, and not from
// memory. `path` is the file. function_failed: it cannot be read, or there is no memory.
Result<> bring_into_memory(const llama_model*, const std::string& path, bool has_helper);

}  // namespace dormouse::llm
