#include "ledger/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <optional>

namespace dormouse::ledger {
namespace {

constexpr std::string_view suffix = ".ledger";

Error failed(std::string_view what, const std::filesystem::path& file) {
  return system_error(Code::unavailable, std::string(what) + " " + file.string());
}

std::optional<Named> named(const std::filesystem::path& path) {
  const std::string name = path.filename();
  const char* const end = name.data() + name.size();
  Named segment{0, 0, path};
  const auto number = std::from_chars(name.data(), end, segment.number);
  if (number.ec != std::errc() || *number.ptr != '-') return std::nullopt;
  const auto created = std::from_chars(number.ptr + 1, end, segment.created_ms);
  const bool is_one = created.ec == std::errc() && std::string_view(created.ptr, end) == suffix;
  return is_one ? std::optional(std::move(segment)) : std::nullopt;
}

}  // namespace

File::~File() {
  ::close(descriptor_);
}

Result<> File::append(std::string_view bytes, std::uint64_t size) const {
  const ssize_t wrote = ::write(descriptor_, bytes.data(), bytes.size());
  if (wrote == static_cast<ssize_t>(bytes.size())) return ok;
  const int why = wrote < 0 ? errno : ENOSPC;
  if (auto taken_back = truncate(size); !taken_back) return taken_back;
  return system_error(Code::unavailable, "writing the ledger", why);
}

Result<> File::truncate(std::uint64_t size) const {
  if (::ftruncate(descriptor_, static_cast<off_t>(size)) == 0) return ok;
  return system_error(Code::unavailable, "cutting the ledger back");
}

Result<> File::sync() const {
  if (::fdatasync(descriptor_) == 0) return ok;
  return system_error(Code::unavailable, "syncing the ledger");
}

Result<std::shared_ptr<File>> open_to_append(const std::filesystem::path& file) {
  const int opened = ::open(file.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (opened < 0) return failed("open", file);
  return std::make_shared<File>(opened);
}

Result<> sync_folder(const std::filesystem::path& folder) {
  const int opened = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (opened < 0) return failed("open", folder);
  return File(opened).sync();
}

Result<std::string> read_range(const std::filesystem::path& file, std::uint64_t from,
                               std::uint64_t to) {
  const int opened = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (opened < 0) return failed("open", file);
  const File closes(opened);
  std::string bytes(to - std::min(from, to), '\0');
  std::size_t have = 0;
  while (have < bytes.size()) {
    const ssize_t got =
        ::pread(opened, bytes.data() + have, bytes.size() - have, static_cast<off_t>(from + have));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failed("read", file);
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
  }
  bytes.resize(have);
  return bytes;
}

Result<std::string> read_whole(const std::filesystem::path& file) {
  struct stat found{};
  if (::stat(file.c_str(), &found) != 0) return failed("stat", file);
  return read_range(file, 0, static_cast<std::uint64_t>(found.st_size));
}

std::filesystem::path path_of(const std::filesystem::path& dir, std::uint32_t number,
                              std::int64_t created_ms) {
  char name[64];
  std::snprintf(name, sizeof(name), "%08u-%013lld.ledger", number,
                static_cast<long long>(created_ms));
  return dir / name;
}

Result<std::vector<Named>> segments_in(const std::filesystem::path& dir) {
  std::vector<Named> segments;
  std::error_code error;
  std::filesystem::directory_iterator at(dir, error), end;
  for (; !error && at != end; at.increment(error)) {
    if (auto segment = named(at->path())) segments.push_back(*std::move(segment));
  }
  if (error) return system_error(Code::unavailable, "reading " + dir.string(), error.value());
  std::ranges::sort(segments, {}, &Named::number);
  return segments;
}

}  // namespace dormouse::ledger
