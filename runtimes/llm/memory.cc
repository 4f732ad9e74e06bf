#include "runtimes/llm/memory.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <ggml-backend.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "wire/socket.h"

// Of llama.cpp's own headers, which are not among those that are for others.
const std::vector<std::pair<std::string, ggml_tensor*>>& llama_internal_get_tensor_map(
    const llama_model*);

namespace dormouse::llm {
namespace {

constexpr bool sanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
constexpr std::uintptr_t huge = std::uintptr_t{2} << 20;

HugePages*& wanted() {
  static HugePages* huge_pages = nullptr;
  return huge_pages;
}

// Whole pages.
struct Pages {
  std::uintptr_t first = 0, end = 0;

  // Those that lie in [begin, begin + size) as a whole.
  static Pages inside(void* begin, std::size_t size, std::uintptr_t page) {
    const auto at = reinterpret_cast<std::uintptr_t>(begin);
    const std::uintptr_t first = (at + page - 1) & ~(page - 1);
    return {first, std::max(first, (at + size) & ~(page - 1))};
  }
  // Those that it lies in.
  static Pages around(void* begin, std::size_t size, std::uintptr_t page) {
    const auto at = reinterpret_cast<std::uintptr_t>(begin);
    return {at & ~(page - 1), (at + size + page - 1) & ~(page - 1)};
  }

  std::size_t size() const { return end - first; }
  char* begin() const { return reinterpret_cast<char*>(first); }
  bool advise(int advice) const { return size() == 0 || madvise(begin(), size(), advice) == 0; }
};

std::uintptr_t page_bytes() {
  return static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
}

void take_from_the_end(Pages pages) {
  constexpr std::size_t step = 4 * huge;
  while (pages.size() > 0) {
    const Pages last{pages.end - std::min(pages.size(), step), pages.end};
    if (!last.advise(MADV_POPULATE_WRITE)) return;  // Whoever fills them will see why.
    pages.end = last.first;
  }
}

// What is mapped of the file and computed with, in order, and what touches each other as one.
std::vector<Pages> mapped_weights(const llama_model* model) {
  std::vector<Pages> found;
  for (const auto& [name, tensor] : llama_internal_get_tensor_map(model)) {
    const bool is_mapped =
        tensor->buffer != nullptr &&
        std::string_view(ggml_backend_buft_name(ggml_backend_buffer_get_type(tensor->buffer))) ==
            "CPU_Mapped";
    if (is_mapped) found.push_back(Pages::around(tensor->data, ggml_nbytes(tensor), page_bytes()));
  }
  std::ranges::sort(found, {}, &Pages::first);
  std::vector<Pages> joined;
  for (const Pages& each : found) {
    if (!joined.empty() && each.first <= joined.back().end) {
      joined.back().end = std::max(joined.back().end, each.end);
    } else {
      joined.push_back(each);
    }
  }
  return joined;
}

// Where in its file a place begins, if it lies in a mapping of one.
std::optional<off_t> offset_of(const Pages& place) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> maps(std::fopen("/proc/self/maps", "re"),
                                                             std::fclose);
  char line[4096 + 128];
  while (maps && std::fgets(line, sizeof line, maps.get()) != nullptr) {
    std::uintptr_t begin = 0, end = 0, offset = 0;
    const int fields =
        std::sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %*s %" SCNxPTR, &begin, &end, &offset);
    if (fields == 3 && begin <= place.first && place.end <= end) {
      return static_cast<off_t>(offset + (place.first - begin));
    }
  }
  return std::nullopt;
}

bool read_whole(int file, off_t offset, char* to, std::size_t size) {
  for (std::size_t done = 0; done < size;) {
    const ssize_t got = pread(file, to + done, size - done, offset + static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return false;
    if (got == 0) break;  // The last page's end is beyond the file's, and zeros.
    done += static_cast<std::size_t>(got);
  }
  return true;
}

bool read_halves(int file, off_t offset, const Pages& to, bool has_helper) {
  const std::size_t half = has_helper ? to.size() / 2 & ~(huge - 1) : 0;
  bool helped = true;
  {
    std::jthread helper;
    if (half > 0) {
      helper = std::jthread([&] { helped = read_whole(file, offset, to.begin(), half); });
    }
    const auto rest = offset + static_cast<off_t>(half);
    if (!read_whole(file, rest, to.begin() + half, to.size() - half)) return false;
  }
  return helped;
}

Result<> bring(int file, const Pages& place, bool has_helper) {
  const auto offset = offset_of(place);
  if (!offset) return Error{Code::function_failed, "weights that are in no file"};
  // As far into a huge page as the place, so that whole ones are moved there.
  const std::size_t room = place.size() + huge;
  void* const taken =
      mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (taken == MAP_FAILED) return system_error(Code::function_failed, "memory for the weights");
  const auto begin = reinterpret_cast<std::uintptr_t>(taken);
  const std::uintptr_t first = begin + ((place.first - begin) & (huge - 1));
  const Pages source{first, first + place.size()};
  (void)source.advise(MADV_HUGEPAGE);  // A kernel may have none.
  const bool moved = read_halves(file, *offset, source, has_helper) &&
                     mprotect(source.begin(), source.size(), PROT_READ) == 0 &&
                     mremap(source.begin(), source.size(), source.size(),
                            MREMAP_MAYMOVE | MREMAP_FIXED, place.begin()) != MAP_FAILED;
  Result<> done = ok;
  if (!moved) done = system_error(Code::function_failed, "moving the weights into memory");
  munmap(taken, source.first - begin);
  munmap(reinterpret_cast<void*>(source.end), begin + room - source.end);
  return done;
}

}  // namespace

HugePages::HugePages(bool has_helper) : has_helper_(has_helper) {
  wanted() = this;
}

HugePages::~HugePages() {
  wanted() = nullptr;
}

void HugePages::take(void* begin, std::size_t size) {
  const Pages pages = Pages::inside(begin, size, huge);
  (void)pages.advise(MADV_HUGEPAGE);
  if (has_helper_) helpers_.emplace_back([pages] { take_from_the_end(pages); });
}

Result<> bring_into_memory(const llama_model* model, const std::string& path, bool has_helper) {
  const wire::Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return system_error(Code::function_failed, "opening the model");
  for (const Pages& each : mapped_weights(model)) {
    if (auto brought = bring(file.number(), each, has_helper); !brought) return brought;
  }
  return ok;
}

}  // namespace dormouse::llm

// llama.cpp's libraries find these before the ones that they would call.
extern "C" {

// Zeros in memory of this process's own are what the kernel gives when pages are used again.
void ggml_backend_buffer_clear(ggml_backend_buffer_t buffer, std::uint8_t value) {
  using namespace dormouse::llm;
  if (value != 0 || ggml_backend_buffer_get_type(buffer) != ggml_backend_cpu_buffer_type()) {
    static const auto clear = reinterpret_cast<decltype(&ggml_backend_buffer_clear)>(
        dlsym(RTLD_NEXT, "ggml_backend_buffer_clear"));
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

int posix_memalign(void** memory, std::size_t alignment, std::size_t size) {
  using namespace dormouse::llm;
  HugePages* const large = size >= huge && !sanitized ? wanted() : nullptr;
  void* const got = memalign(large != nullptr ? std::max(alignment, huge) : alignment, size);
  if (got == nullptr) return ENOMEM;
  if (large != nullptr) large->take(got, size);
  *memory = got;
  return 0;
}

#if !__has_feature(address_sanitizer)
// Whoever reads a page brings it in: all of them at once take longer to map, and to let go of.
void* mmap(void* where, std::size_t size, int access, int flags, int file, off_t offset) noexcept {
  const long got = syscall(SYS_mmap, where, size, access, flags & ~MAP_POPULATE, file, offset);
  return reinterpret_cast<void*>(got);
}
#endif

}  // extern "C"
