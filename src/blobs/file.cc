#include "blobs/file.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <vector>

namespace dormouse::blobs {
namespace {

constexpr std::size_t piece_bytes = 1 << 20;

Error failed(std::string_view what, const std::filesystem::path& file) {
  return system_error(Code::unavailable, std::string(what) + " " + file.string());
}

}  // namespace

File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Result<File> open_for_writing(const std::filesystem::path& file) {
  File opened(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (opened.get() < 0) return failed("open", file);
  return opened;
}

Result<File> open_untrusted(const std::filesystem::path& file) {
  open_how how{};
  how.flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
  how.resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  File opened(static_cast<int>(::syscall(SYS_openat2, AT_FDCWD, file.c_str(), &how, sizeof(how))));
  if (opened.get() < 0) {
    const bool its_fault = errno == ELOOP || errno == ENOENT || errno == ENOTDIR || errno == ENXIO;
    return system_error(its_fault ? Code::invalid_argument : Code::unavailable,
                        "open " + file.string());
  }
  struct stat found{};
  if (::fstat(opened.get(), &found) != 0) return failed("stat", file);
  if (!S_ISREG(found.st_mode) || found.st_nlink != 1) {
    return Error{Code::invalid_argument, file.string() + " is not a plain file with one name"};
  }
  return opened;
}

Result<std::uint64_t> size_of(const File& file) {
  struct stat found{};
  if (::fstat(file.get(), &found) != 0) return system_error(Code::unavailable, "stat");
  return static_cast<std::uint64_t>(found.st_size);
}

Result<> write_at(const File& file, std::uint64_t offset, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t wrote =
        ::pwrite(file.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return system_error(Code::unavailable, "write");
    offset += static_cast<std::uint64_t>(wrote);
    bytes.remove_prefix(static_cast<std::size_t>(wrote));
  }
  return ok;
}

Result<> read_pieces(const File& file, std::uint64_t from, const Visit& visit) {
  std::vector<char> piece(piece_bytes);
  for (;;) {
    const ssize_t got = ::pread(file.get(), piece.data(), piece.size(), static_cast<off_t>(from));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return system_error(Code::unavailable, "read");
    if (got == 0) return ok;
    from += static_cast<std::uint64_t>(got);
    if (auto seen = visit({piece.data(), static_cast<std::size_t>(got)}); !seen) return seen;
  }
}

Result<> sync(const File& file) {
  if (::fsync(file.get()) != 0) return system_error(Code::unavailable, "fsync");
  return ok;
}

Result<> sync_folder(const std::filesystem::path& folder) {
  const File opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (opened.get() < 0) return failed("open", folder);
  return sync(opened);
}

Result<> publish(const File& file, const std::filesystem::path& from,
                 const std::filesystem::path& to) {
  if (auto made = make_folder(to.parent_path()); !made) return made;
  if (::fchmod(file.get(), blob_mode) != 0) return failed("chmod", from);
  if (auto synced = sync(file); !synced) return synced;
  if (::rename(from.c_str(), to.c_str()) != 0) return failed("rename", from);
  return sync_folder(to.parent_path());
}

Result<> make_folder(const std::filesystem::path& folder) {
  if (::mkdir(folder.c_str(), 0755) == 0) return sync_folder(folder.parent_path());
  if (errno == EEXIST) return ok;
  return failed("mkdir", folder);
}

}  // namespace dormouse::blobs
