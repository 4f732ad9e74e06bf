#include "runtimes/llm/memory.h"

#include <dlfcn.h>
#include <ggml-backend.h>
#include <gguf.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "base/check.h"
#include "runtimes/llm/pages.h"

// Of llama.cpp's own headers, which are not among those that are for others.
std::string gguf_kv_to_str(const gguf_context*, int key);

namespace dormouse::llm {
namespace {

Loading*& current() {
  static Loading* loading = nullptr;
  return loading;
}

void take_from_the_end(Pages pages) {
  constexpr std::size_t step = 4 * huge;
  while (pages.size() > 0) {
    const Pages last{pages.end - std::min(pages.size(), step), pages.end};
    if (!last.advise(MADV_POPULATE_WRITE)) return;  // Whoever fills them will see why.
    pages.end = last.first;
  }
}

// The function of llama.cpp's that one here is found before.
template <class Function>
Function theirs(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

// A matrix as two of some of its rows each, the first as large as the second or larger by few.
struct Halves {
  ggml_tensor first, second;
};

// Of one that is packed: each few rows by themselves.
std::optional<Halves> halves_of(const ggml_tensor& tensor, std::size_t offset, std::size_t size) {
  constexpr std::size_t worth_it = 256 * 1024;  // Waking a thread takes some of the time.
  constexpr std::int64_t rows_together = 64;    // A multiple of what any packing takes together.
  const bool is_packed =
      tensor.buffer != nullptr && tensor.view_src == nullptr &&
      std::string_view(ggml_backend_buft_name(ggml_backend_buffer_get_type(tensor.buffer))) ==
          "CPU_REPACK";
  const std::int64_t rows = tensor.ne[1];
  const bool is_whole = offset == 0 && size == ggml_nbytes(&tensor);
  if (!is_packed || !is_whole || size < worth_it || rows != ggml_nrows(&tensor)) return {};
  const std::int64_t half = (rows / 2 + rows_together - 1) / rows_together * rows_together;
  if (half >= rows) return {};
  Halves halves{tensor, tensor};
  halves.first.ne[1] = half;
  halves.second.ne[1] = rows - half;
  halves.second.data =
      static_cast<char*>(tensor.data) + static_cast<std::size_t>(half) * tensor.nb[1];
  for (ggml_tensor* each : {&halves.first, &halves.second}) {
    each->nb[2] = each->nb[3] = each->nb[1] * static_cast<std::size_t>(each->ne[1]);
  }
  return halves;
}

}  // namespace

Loading::Loading(bool has_helper) : packer_(has_helper ? new SecondThread : nullptr) {
  current() = this;
}

Loading::~Loading() {
  current() = nullptr;
}

void Loading::take(void* begin, std::size_t size) {
  const Pages pages = Pages::inside(begin, size, huge);
  (void)pages.advise(MADV_HUGEPAGE);
  if (packer_) takers_.push_back(thread_of([pages] { take_from_the_end(pages); }));
}

}  // namespace dormouse::llm

// llama.cpp's libraries find these before the ones that they would call.

// Of arrays for its log alone, which tells their beginning: of every number of a vocabulary it
// makes text first.
std::string gguf_kv_to_str(const gguf_context* file, int key) {
  using namespace dormouse::llm;
  static const auto text =
      theirs<decltype(&gguf_kv_to_str)>("_Z14gguf_kv_to_strB5cxx11PK12gguf_contexti");
  CHECK(text != nullptr);
  return gguf_get_kv_type(file, key) == GGUF_TYPE_ARRAY ? "[...]" : text(file, key);
}

extern "C" {

// Zeros in memory of this process's own are what the kernel gives when pages are used again.
void ggml_backend_buffer_clear(ggml_backend_buffer_t buffer, std::uint8_t value) {
  using namespace dormouse::llm;
  if (value != 0 || ggml_backend_buffer_get_type(buffer) != ggml_backend_cpu_buffer_type()) {
    static const auto clear =
        theirs<decltype(&ggml_backend_buffer_clear)>("ggml_backend_buffer_clear");
    return clear(buffer, value);
  }
  const std::size_t size = ggml_backend_buffer_get_size(buffer);
  if (size == 0) return;
  auto* const begin = static_cast<char*>(ggml_backend_buffer_get_base(buffer));
  const Pages pages = Pages::inside(begin, size, page_bytes());
  if (pages.size() == 0 || !pages.advise(MADV_DONTNEED)) {
    std::memset(begin, 0, size);
    return;
  }
  char* const end = pages.begin() + pages.size();
  std::memset(begin, 0, static_cast<std::size_t>(pages.begin() - begin));
  std::memset(end, 0, static_cast<std::size_t>(begin + size - end));
}

// Packing weights takes longer than all else of loading them: two threads do it.
void ggml_backend_tensor_set(ggml_tensor* tensor, const void* data, std::size_t offset,
                             std::size_t size) {
  using namespace dormouse::llm;
  static const auto set = theirs<decltype(&ggml_backend_tensor_set)>("ggml_backend_tensor_set");
  SecondThread* const helper = current() != nullptr ? current()->packer() : nullptr;
  auto halves = helper != nullptr ? halves_of(*tensor, offset, size) : std::nullopt;
  if (!halves) return set(tensor, data, offset, size);
  const std::size_t first = ggml_nbytes(&halves->first), second = ggml_nbytes(&halves->second);
  helper->run_both(
      [&] { set(&halves->first, data, 0, first); },
      [&] { set(&halves->second, static_cast<const char*>(data) + first, 0, second); });
}

#if !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer)
// Sanitizers have their own of these.

int posix_memalign(void** memory, std::size_t alignment, std::size_t size) {
  using namespace dormouse::llm;
  Loading* const large = size >= huge ? current() : nullptr;
  void* const got = memalign(large != nullptr ? std::max(alignment, huge) : alignment, size);
  if (got == nullptr) return ENOMEM;
  if (large != nullptr) large->take(got, size);
  *memory = got;
  return 0;
}

// Whoever reads a page brings it in: all of them at once take longer to map, and to let go of. A
// large file begins where a huge page may, so that huge pages can take the place of its parts.
void* mmap(void* where, std::size_t size, int access, int flags, int file, off_t offset) noexcept {
  using namespace dormouse::llm;
  const auto map = [](void* at, std::size_t bytes, int may, int how, int of, off_t from) {
    return reinterpret_cast<void*>(syscall(SYS_mmap, at, bytes, may, how, of, from));
  };
  if (where == nullptr && file >= 0 && size >= huge && current() != nullptr) {
    constexpr int nothing = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void* const room = map(nullptr, size + huge, PROT_NONE, nothing, -1, 0);
    if (room != MAP_FAILED) {
      where = Pages::inside(room, size + huge, huge).begin();
      munmap(room, size + huge);
    }
  }
  return map(where, size, access, flags & ~MAP_POPULATE, file, offset);
}

#endif

}  // extern "C"
