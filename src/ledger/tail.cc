#include "ledger/tail.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include <atomic>
#include <cstddef>
#include <cstring>
#include <type_traits>
#include <utility>

#include "base/check.h"

namespace dormouse::ledger {
namespace {

constexpr char magic[8] = {'d', 'o', 'r', 'm', 't', 'a', 'i', 'l'};
constexpr std::uint32_t version = 1;

std::filesystem::path file_in(const std::filesystem::path& folder) {
  return folder / "tail";
}

bool keeps_room(int file) {
  constexpr std::uint32_t ext4 = 0xEF53, tmpfs = 0x01021994;
  struct statfs found{};
  if (::fstatfs(file, &found) != 0) return false;
  const auto kind = static_cast<std::uint32_t>(found.f_type);
  return kind == ext4 || kind == tmpfs;
}

// So that no page of it lacks a block later.
bool is_whole(int opened, const File& file, std::size_t size) {
  struct stat found{};
  if (::fstat(opened, &found) != 0 || !S_ISREG(found.st_mode)) return false;
  const bool is_new = static_cast<std::size_t>(found.st_size) != size;
  if (is_new && !(file.truncate(0) && file.append(std::string(size, '\0'), 0))) return false;
  return ::posix_fallocate(opened, 0, static_cast<off_t>(size)) == 0;
}

}  // namespace

// The file. A process may die between any two changes of it, so `length` changes last when bytes
// are added, and first when it begins anew.
struct Tail::Page {
  char magic[8];
  std::uint32_t version;
  std::atomic<std::uint32_t> segment;
  std::atomic<std::uint64_t> offset, length;
  char bytes[tail_bytes_max];
};

Tail::Left Tail::left_in(const std::filesystem::path& folder) {
  static_assert(std::is_standard_layout_v<Page>);
  const auto file = read_whole(file_in(folder));
  if (!file || file->size() < sizeof(Page)) return {};
  const char* const at = file->data();
  std::uint32_t found = 0;
  std::uint64_t length = 0;
  Left left;
  std::memcpy(&found, at + offsetof(Page, version), sizeof found);
  std::memcpy(&left.segment, at + offsetof(Page, segment), sizeof left.segment);
  std::memcpy(&left.offset, at + offsetof(Page, offset), sizeof left.offset);
  std::memcpy(&length, at + offsetof(Page, length), sizeof length);
  const bool is_one = std::memcmp(at, magic, sizeof magic) == 0 && found == version;
  if (!is_one || length > tail_bytes_max) return {};
  left.bytes.assign(at + offsetof(Page, bytes), length);
  return left;
}

void Tail::remove_from(const std::filesystem::path& folder) {
  std::error_code ignored;
  std::filesystem::remove(file_in(folder), ignored);
}

std::unique_ptr<Tail> Tail::make_in(const std::filesystem::path& folder) {
  constexpr int flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC;
  const int opened = ::open(file_in(folder).c_str(), flags, 0600);
  if (opened < 0) return nullptr;
  auto file = std::make_shared<File>(opened);
  if (!keeps_room(opened) || !is_whole(opened, *file, sizeof(Page))) return nullptr;
  void* const mapped = ::mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED, opened, 0);
  if (mapped == MAP_FAILED) return nullptr;
  (void)::madvise(mapped, sizeof(Page), MADV_DONTFORK);
  (void)::mlock(mapped, sizeof(Page));  // Else the kernel may have to read a page again.
  return std::unique_ptr<Tail>(new Tail(std::move(file), mapped));
}

Tail::Tail(std::shared_ptr<File> file, void* mapped)
    : file_(std::move(file)), page_(static_cast<Page*>(mapped)) {
  std::memcpy(page_->magic, magic, sizeof magic);
  page_->version = version;
}

Tail::~Tail() {
  ::munmap(page_, sizeof(Page));
}

void Tail::begin(std::uint32_t segment, std::uint64_t offset) {
  page_->length = 0;
  page_->segment = segment;
  page_->offset = offset;
}

bool Tail::has_room_for(std::size_t bytes) const {
  return bytes <= tail_bytes_max - page_->length;
}

void Tail::add(std::string_view batch) {
  CHECK(has_room_for(batch.size()));
  const std::uint64_t length = page_->length;
  std::memcpy(page_->bytes + length, batch.data(), batch.size());
  page_->length.store(length + batch.size(), std::memory_order_release);
}

std::uint64_t Tail::offset() const {
  return page_->offset;
}

std::string_view Tail::bytes() const {
  return {page_->bytes, page_->length};
}

}  // namespace dormouse::ledger
