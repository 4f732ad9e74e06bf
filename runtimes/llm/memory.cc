#include "runtimes/llm/memory.h"

#include <dlfcn.h>
#include <ggml-backend.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>

namespace dormouse::llm {
namespace {

constexpr bool sanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
constexpr std::uintptr_t huge = std::uintptr_t{2} << 20;

bool& in_huge_pages() {
  static bool wanted = false;
  return wanted;
}

// The pages that lie in [begin, begin + size) as a whole.
struct Pages {
  Pages(void* begin, std::size_t size, std::uintptr_t page)
      : first((reinterpret_cast<std::uintptr_t>(begin) + page - 1) & ~(page - 1)),
        end(std::max(first, (reinterpret_cast<std::uintptr_t>(begin) + size) & ~(page - 1))) {}
  bool advise(int advice) const {
    return first == end || madvise(reinterpret_cast<void*>(first), end - first, advice) == 0;
  }
  std::uintptr_t first, end;
};

}  // namespace

HugePages::HugePages() {
  in_huge_pages() = true;
}

HugePages::~HugePages() {
  in_huge_pages() = false;
}

}  // namespace dormouse::llm

// llama.cpp's libraries find these two before the ones that they would call.
extern "C" {

// Zeros in memory of this process's own are what the kernel gives when pages are used again.
void ggml_backend_buffer_clear(ggml_backend_buffer_t buffer, std::uint8_t value) {
  using dormouse::llm::Pages;
  if (value != 0 || ggml_backend_buffer_get_type(buffer) != ggml_backend_cpu_buffer_type()) {
    static const auto clear = reinterpret_cast<decltype(&ggml_backend_buffer_clear)>(
        dlsym(RTLD_NEXT, "ggml_backend_buffer_clear"));
    return clear(buffer, value);
  }
  const std::size_t size = ggml_backend_buffer_get_size(buffer);
  if (size == 0) return;
  auto* const begin = static_cast<char*>(ggml_backend_buffer_get_base(buffer));
  const Pages pages(begin, size, static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE)));
  if (pages.first == pages.end || !pages.advise(MADV_DONTNEED)) {
    std::memset(begin, 0, size);
    return;
  }
  auto* const first = reinterpret_cast<char*>(pages.first);
  auto* const end = reinterpret_cast<char*>(pages.end);
  std::memset(begin, 0, static_cast<std::size_t>(first - begin));
  std::memset(end, 0, static_cast<std::size_t>(begin + size - end));
}

int posix_memalign(void** memory, std::size_t alignment, std::size_t size) {
  using namespace dormouse::llm;
  const bool large = in_huge_pages() && !sanitized && size >= huge;
  void* const got = memalign(large ? std::max(alignment, huge) : alignment, size);
  if (got == nullptr) return ENOMEM;
  if (large) (void)Pages(got, size, huge).advise(MADV_HUGEPAGE);  // A kernel may have none.
  *memory = got;
  return 0;
}

}  // extern "C"
