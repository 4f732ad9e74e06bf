#include "ledger/tail.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <type_traits>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"

namespace dormouse::ledger {
namespace {

constexpr char magic[8] = {'d', 'o', 'r', 'm', 't', 'a', 'i', 'l'};
constexpr std::uint32_t version = 2;

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
  std::uint32_t segment;
  std::uint64_t process;  // Random: pages of the file that a power cut left may be of several.
  std::uint64_t offset;
  Chain chain;
  std::atomic<std::uint64_t> length;
  char bytes[tail_bytes_max];
};

namespace {

// In the bytes are groups, one for each add(): the records' length, the records, and their CRC-32C,
// which begins with what tells this tail from those of before.
constexpr std::size_t group_bytes = 2 * sizeof(std::uint32_t);

std::uint32_t seed_of(std::uint64_t process, std::uint32_t segment, std::uint64_t offset) {
  std::string all;
  put(all, process);
  put(all, segment);
  put(all, offset);
  return crc32c(all);
}

// As far as they are good.
std::string records_in(std::string_view groups, std::uint32_t seed) {
  std::string all;
  for (Reader in(groups); !groups.empty();) {
    const std::string_view records = in.take(in.get<std::uint32_t>());
    const auto crc = in.get<std::uint32_t>();
    if (!in.ok() || crc != crc32c(records, seed)) break;
    all.append(records);
    groups.remove_prefix(group_bytes + records.size());
  }
  return all;
}

}  // namespace

Result<Tail::Left> Tail::left_in(const std::filesystem::path& folder) {
  static_assert(std::is_standard_layout_v<Page> && offsetof(Page, length) == 48);
  const auto file = read_whole(file_in(folder));
  if (!file || file->size() < sizeof(Page)) return Left{};
  Reader in(*file);
  if (in.take(sizeof magic) != std::string_view(magic, sizeof magic)) return Left{};
  Left left;
  if (const auto found = in.get<std::uint32_t>(); found != version) {
    return Error{Code::unavailable,
                 file_in(folder).string() + " is of version " + std::to_string(found) +
                     ": start the dormouse that wrote it once more, and stop it"};
  }
  left.place.segment = in.get<std::uint32_t>();
  const auto process = in.get<std::uint64_t>();
  left.place.offset = in.get<std::uint64_t>();
  std::ranges::copy(in.take(sizeof(Chain)), left.place.chain.begin());
  const auto length = in.get<std::uint64_t>();
  if (length > tail_bytes_max) return Left{};
  left.records =
      records_in(in.take(length), seed_of(process, left.place.segment, left.place.offset));
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
  page_->length = 0;
  std::memcpy(page_->magic, magic, sizeof magic);
  page_->version = version;
  CHECK(::getrandom(&page_->process, sizeof page_->process, 0) == sizeof page_->process);
}

Tail::~Tail() {
  ::munmap(page_, sizeof(Page));
}

void Tail::begin(const Place& place) {
  page_->length = 0;
  page_->segment = place.segment;
  page_->offset = place.offset;
  page_->chain = place.chain;
  seed_ = seed_of(page_->process, place.segment, place.offset);
}

bool Tail::has_room_for(std::string_view records) const {
  return group_bytes + records.size() <= tail_bytes_max - page_->length;
}

void Tail::add(std::string_view records) {
  CHECK(has_room_for(records));
  const std::uint64_t length = page_->length;
  const auto size = static_cast<std::uint32_t>(records.size());
  const std::uint32_t crc = crc32c(records, seed_);
  char* const at = page_->bytes + length;
  std::memcpy(at, &size, sizeof size);
  std::memcpy(at + sizeof size, records.data(), size);
  std::memcpy(at + sizeof size + size, &crc, sizeof crc);
  page_->length.store(length + group_bytes + size, std::memory_order_release);
}

bool Tail::is_empty() const {
  return page_->length == 0;
}

std::string Tail::records() const {
  return records_in({page_->bytes, page_->length}, seed_);
}

}  // namespace dormouse::ledger
