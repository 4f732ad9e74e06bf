#include "runtimes/llm/weights.h"

#include <fcntl.h>
#include <ggml-backend.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "runtimes/llm/packing.h"
#include "runtimes/llm/pages.h"
#include "runtimes/llm/second_thread.h"

// Of llama.cpp's own headers, which are not among those that are for others.
const std::vector<std::pair<std::string, ggml_tensor*>>& llama_internal_get_tensor_map(
    const llama_model*);

namespace dormouse::llm {
namespace {

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

}  // namespace

// Pages of the file, copied into huge pages by all threads that call read().
class FileCopy {
 public:
  // As far into a huge page as `like`, so that whole ones are moved there.
  FileCopy(int file, off_t offset, std::size_t size, std::uintptr_t like)
      : file_(file), offset_(offset) {
    taken_bytes_ = size + huge;
    taken_ =
        mmap(nullptr, taken_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (taken_ == MAP_FAILED) {
      failure_ = errno;
      return;
    }
    const auto begin = reinterpret_cast<std::uintptr_t>(taken_);
    const std::uintptr_t first = begin + ((like - begin) & (huge - 1));
    pages_ = {first, first + size};
    next_ = first & ~(huge - 1);
    (void)pages_.advise(MADV_HUGEPAGE);  // A kernel may have none.
  }
  ~FileCopy() {
    if (taken_ != MAP_FAILED) munmap(taken_, taken_bytes_);
  }
  FileCopy(const FileCopy&) = delete;
  FileCopy& operator=(const FileCopy&) = delete;

  // Until nothing is left that nobody reads.
  void read() {
    constexpr std::uintptr_t step = 2 * huge;
    for (std::uintptr_t at; (at = next_.fetch_add(step)) < pages_.end && failure_ == 0;) {
      const std::uintptr_t first = std::max(at, pages_.first);
      const std::uintptr_t end = std::min(at + step, pages_.end);
      const int failed = read_whole(file_, offset_ + static_cast<off_t>(first - pages_.first),
                                    reinterpret_cast<char*>(first), end - first);
      if (failed != 0) failure_ = failed;
    }
  }
  void stop() { failure_ = ECANCELED; }

  std::size_t size() const { return pages_.size(); }
  bool has(off_t offset, std::size_t size) const {
    return offset >= offset_ && static_cast<std::size_t>(offset - offset_) + size <= pages_.size();
  }

  // Once all of it is read.
  Result<> move(off_t offset, const Pages& place) {
    errno = failure_;
    if (errno == 0) {
      char* const from = pages_.begin() + (offset - offset_);
      const bool moved = mprotect(from, place.size(), PROT_READ) == 0 &&
                         mremap(from, place.size(), place.size(), MREMAP_MAYMOVE | MREMAP_FIXED,
                                place.begin()) != MAP_FAILED;
      if (moved) return ok;
    }
    return system_error(Code::function_failed, "bringing the weights into memory");
  }

 private:
  const int file_;
  const off_t offset_;
  void* taken_ = MAP_FAILED;
  std::size_t taken_bytes_ = 0;
  Pages pages_;
  std::atomic<std::uintptr_t> next_ = 0;
  std::atomic<int> failure_ = 0;  // An errno.
};

Weights::Weights(const std::string& path, const GgufHeader& header, bool has_helper)
    : has_helper_(has_helper), file_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
  if (!file_ || !has_helper) return;
  read_ahead(header);
  if (ahead_.empty()) return;
  helper_ = thread_of([this] {
    for (const auto& copy : ahead_) copy->read();
  });
}

Weights::~Weights() {
  for (const auto& copy : ahead_) copy->stop();
}

// Less than a huge page is read as soon as it is begun.
void Weights::read_ahead(const GgufHeader& header) {
  const auto add = [this](std::uint64_t begin, std::uint64_t end) {
    if (end - begin < huge) return;
    const std::uint64_t first = begin & ~(page_bytes() - 1);
    const std::uint64_t size = (end - first + page_bytes() - 1) & ~(page_bytes() - 1);
    ahead_.push_back(
        std::make_unique<FileCopy>(file_.number(), static_cast<off_t>(first), size, first));
  };
  std::uint64_t begin = 0, end = 0;
  const Packing packing;
  for (const GgufTensor& tensor : header.tensors_in_order) {
    if (packing.packs(tensor)) continue;
    if (tensor.begin > end + page_bytes()) {
      add(begin, end);
      begin = tensor.begin;
    }
    end = std::max(end, tensor.begin + tensor.bytes);
  }
  add(begin, end);
}

Result<> Weights::bring(const llama_model* model) {
  struct stat status{};
  if (!file_ || fstat(file_.number(), &status) != 0) {
    return system_error(Code::function_failed, "opening the model");
  }
  for (const auto& copy : ahead_) copy->read();
  if (helper_.joinable()) helper_.join();
  for (const Pages& place : mapped_weights(model)) {
    const auto offset = offset_of(place, status.st_ino);
    if (!offset) {
      return Error{Code::function_failed, "weights that are not in one place of the file"};
    }
    const auto found = std::ranges::find_if(
        ahead_, [&](const auto& copy) { return copy->has(*offset, place.size()); });
    const bool is_ahead = found != ahead_.end();
    (is_ahead ? bytes_ahead_ : bytes_late_) += place.size();
    auto brought = is_ahead ? (*found)->move(*offset, place) : bring_late(*offset, place);
    if (!brought) return brought;
  }
  std::size_t read = 0;
  for (const auto& copy : ahead_) read += copy->size();
  bytes_in_vain_ = read - std::min(read, bytes_ahead_);
  ahead_.clear();
  return ok;
}

Result<> Weights::bring_late(off_t offset, const Pages& place) {
  FileCopy copy(file_.number(), offset, place.size(), place.first);
  std::jthread helper = has_helper_ ? thread_of([&copy] { copy.read(); }) : std::jthread();
  copy.read();
  if (helper.joinable()) helper.join();
  return copy.move(offset, place);
}

}  // namespace dormouse::llm
