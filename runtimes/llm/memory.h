// How this program gets llama.cpp's large pieces of memory. What llama.cpp wants to be zero, and
// has not read anything into, is taken from the kernel only when it is used: llama.cpp itself would
// write every zero, which costs a model's context, of a gigabyte soon, at each start.
#pragma once

namespace dormouse::llm {

// As long as one lives, large pieces go into huge pages, which are filled faster, and forked
// faster. For weights, which are there as a whole; what a context holds is used piece by piece. One
// at a time, on the thread that allocates.
class HugePages {
 public:
  HugePages();
  ~HugePages();
  HugePages(const HugePages&) = delete;
  HugePages& operator=(const HugePages&) = delete;
};

}  // namespace dormouse::llm
