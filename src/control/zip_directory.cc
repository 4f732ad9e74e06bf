#include "control/zip_directory.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/bytes.h"

namespace dormouse::control {
namespace {

constexpr std::string_view end_mark = "PK\5\6", entry_mark = "PK\1\2";
// zip64's own end and its locator, which some write before the end even if they need not.
constexpr std::string_view large_end_mark = "PK\6\6", locator_mark = "PK\6\7";
constexpr std::size_t large_end_bytes = 56, locator_bytes = 20;
constexpr std::size_t end_bytes = 22, comment_bytes_max = 0xFFFF;
constexpr std::uint32_t directory_bytes_max = 64 << 20;
constexpr std::uint8_t on_unix = 3, on_macos = 19;

const Error not_a_zip{Code::invalid_argument, "is not a zip file"};
const Error damaged{Code::invalid_argument, "its directory is damaged"};

struct End {
  std::uint64_t directory_end = 0;  // Where in the file.
  std::uint16_t entries = 0;
  std::uint32_t directory_bytes = 0;
};

// As much of it as there is.
std::string read_at(int file, std::uint64_t offset, std::size_t size) {
  std::string bytes(size, '\0');
  std::size_t done = 0;
  while (done < size) {
    const auto read =
        ::pread(file, bytes.data() + done, size - done, static_cast<off_t>(offset + done));
    if (read < 0 && errno == EINTR) continue;
    if (read <= 0) break;
    done += static_cast<std::size_t>(read);
  }
  bytes.resize(done);
  return bytes;
}

std::uint64_t size_of(int file) {
  struct stat status{};
  return ::fstat(file, &status) == 0 ? static_cast<std::uint64_t>(status.st_size) : 0;
}

// How much of what precedes the end is zip64's.
std::size_t bytes_of_zip64(std::string_view before_end) {
  constexpr std::size_t both = large_end_bytes + locator_bytes;
  if (before_end.size() < both) return 0;
  before_end.remove_prefix(before_end.size() - both);
  const bool there = before_end.starts_with(large_end_mark) &&
                     before_end.substr(large_end_bytes).starts_with(locator_mark);
  return there ? both : 0;
}

Result<End> find_end(int file) {
  const std::uint64_t size = size_of(file);
  const auto tail_bytes = std::min<std::uint64_t>(
      size, large_end_bytes + locator_bytes + end_bytes + comment_bytes_max);
  const std::string tail = read_at(file, size - tail_bytes, tail_bytes);
  const auto at = tail.rfind(end_mark);
  if (at == tail.npos) return not_a_zip;
  Reader in(std::string_view(tail).substr(at + end_mark.size()));
  End end;
  end.directory_end = size - tail_bytes + at - bytes_of_zip64(std::string_view(tail).substr(0, at));
  const auto disks = in.get<std::uint32_t>();
  end.entries = in.get<std::uint16_t>();
  const auto of_all = in.get<std::uint16_t>();
  end.directory_bytes = in.get<std::uint32_t>();
  const auto offset = in.get<std::uint32_t>();
  if (!in.ok()) return not_a_zip;
  // What zip64 writes when the true number is elsewhere, for it has no room here.
  const bool is_zip64 = of_all == 0xFFFF || end.directory_bytes == ~0u || offset == ~0u;
  if (is_zip64 || end.directory_bytes > directory_bytes_max) {
    return Error{Code::too_large, "has too many entries, or is over 4 GiB"};
  }
  if (disks != 0 || of_all != end.entries || end.directory_bytes > end.directory_end) {
    return damaged;
  }
  return end;
}

ZipListing read_listing(Reader& in) {
  in.take(1);
  const auto made = in.get<std::uint8_t>();
  in.take(22);  // Versions, flags, method, time, checksum, sizes.
  const auto name_bytes = in.get<std::uint16_t>();
  const auto extra_bytes = in.get<std::uint16_t>();
  const auto comment_bytes = in.get<std::uint16_t>();
  in.take(4);  // Disk and internal attributes.
  const auto attributes = in.get<std::uint32_t>();
  in.take(4);  // Where it lies.
  ZipListing listing{.name = std::string(in.take(name_bytes))};
  if (made == on_unix || made == on_macos) listing.mode = attributes >> 16;
  in.take(std::size_t{extra_bytes} + comment_bytes);
  return listing;
}

}  // namespace

Result<std::vector<ZipListing>> read_zip_directory(int zip) {
  const auto end = find_end(zip);
  if (!end) return end.error();
  const std::string bytes =
      read_at(zip, end->directory_end - end->directory_bytes, end->directory_bytes);
  Reader in(bytes);
  std::vector<ZipListing> listings;
  for (int left = end->entries; left > 0; --left) {
    if (in.take(entry_mark.size()) != entry_mark) return damaged;
    listings.push_back(read_listing(in));
  }
  if (!in.complete()) return damaged;
  return listings;
}

}  // namespace dormouse::control
