#include "runtimes/llm/memory.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <ggml-backend.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <concepts>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "wire/socket.h"

// Of llama.cpp's own headers, which are not among those that are for others.
const std::vector<std::pair<std::string, ggml_tensor*>>& llama_internal_get_tensor_map(
    const llama_model*);

namespace dormouse::llm {
namespace {

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

// One that does nothing, if there can be no more threads.
std::jthread thread_of(std::invocable auto work) {
  try {
    return std::jthread(std::move(work));
  } catch (const std::system_error&) {
    return {};
  }
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

// Where in the file a place begins, if it lies in one mapping of it.
std::optional<off_t> offset_of(const Pages& place, ino_t file) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> maps(std::fopen("/proc/self/maps", "re"),
                                                             std::fclose);
  char line[4096 + 128];
  while (maps && std::fgets(line, sizeof line, maps.get()) != nullptr) {
    std::uintptr_t begin = 0, end = 0, offset = 0;
    std::uint64_t inode = 0;
    const int fields = std::sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %*s %" SCNxPTR " %*s %" SCNu64,
                                   &begin, &end, &offset, &inode);
    if (fields == 4 && inode == file && begin <= place.first && place.end <= end) {
      return static_cast<off_t>(offset + (place.first - begin));
    }
  }
  return std::nullopt;
}

// 0, or an errno. Zeros follow the file's end on its last page.
int read_whole(int file, off_t offset, char* to, std::size_t size) {
  std::size_t done = 0;
  while (done < size) {
    const ssize_t got = pread(file, to + done, size - done, offset + static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno;
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done + page_bytes() > size ? 0 : EIO;
}

// Likewise; by two threads, if the second can be had.
int read_halves(int file, off_t offset, const Pages& to, bool has_helper) {
  const std::size_t half = has_helper ? to.size() / 2 & ~(huge - 1) : 0;
  int first = half > 0 ? -1 : 0;  // Of the first half; -1: not yet read.
  const auto read_first = [&] { first = read_whole(file, offset, to.begin(), half); };
  std::jthread helper = half > 0 ? thread_of(read_first) : std::jthread();
  const int second =
      read_whole(file, offset + static_cast<off_t>(half), to.begin() + half, to.size() - half);
  if (helper.joinable()) helper.join();
  if (first < 0) read_first();
  return first != 0 ? first : second;
}

Result<> bring(const wire::Descriptor& file, ino_t inode, const Pages& place, bool has_helper) {
  const auto offset = offset_of(place, inode);
  if (!offset) return Error{Code::function_failed, "weights that are not in one place of the file"};
  // As far into a huge page as the place, so that whole ones are moved there.
  const std::size_t room = place.size() + huge;
  void* const taken =
      mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (taken == MAP_FAILED) return system_error(Code::function_failed, "memory for the weights");
  const auto begin = reinterpret_cast<std::uintptr_t>(taken);
  const std::uintptr_t first = begin + ((place.first - begin) & (huge - 1));
  const Pages source{first, first + place.size()};
  (void)source.advise(MADV_HUGEPAGE);  // A kernel may have none.
  errno = read_halves(file.number(), *offset, source, has_helper);
  const bool moved = errno == 0 && mprotect(source.begin(), source.size(), PROT_READ) == 0 &&
                     mremap(source.begin(), source.size(), source.size(),
                            MREMAP_MAYMOVE | MREMAP_FIXED, place.begin()) != MAP_FAILED;
  if (!moved) {
    auto error = system_error(Code::function_failed, "bringing the weights into memory");
    munmap(taken, room);
    return error;
  }
  munmap(taken, source.first - begin);
  munmap(reinterpret_cast<void*>(source.end), begin + room - source.end);
  return ok;
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
  if (has_helper_) helpers_.push_back(thread_of([pages] { take_from_the_end(pages); }));
}

Result<> bring_into_memory(const llama_model* model, const std::string& path, bool has_helper) {
  const wire::Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status{};
  if (!file || fstat(file.number(), &status) != 0) {
    return system_error(Code::function_failed, "opening the model");
  }
  for (const Pages& each : mapped_weights(model)) {
    if (auto brought = bring(file, status.st_ino, each, has_helper); !brought) return brought;
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

#if !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer)
// Sanitizers have their own of these.

int posix_memalign(void** memory, std::size_t alignment, std::size_t size) {
  using namespace dormouse::llm;
  HugePages* const large = size >= huge ? wanted() : nullptr;
  void* const got = memalign(large != nullptr ? std::max(alignment, huge) : alignment, size);
  if (got == nullptr) return ENOMEM;
  if (large != nullptr) large->take(got, size);
  *memory = got;
  return 0;
}

// Whoever reads a page brings it in: all of them at once take longer to map, and to let go of.
void* mmap(void* where, std::size_t size, int access, int flags, int file, off_t offset) noexcept {
  const long got = syscall(SYS_mmap, where, size, access, flags & ~MAP_POPULATE, file, offset);
  return reinterpret_cast<void*>(got);
}

#endif

}  // extern "C"
