// A zip file that somebody hands over: read, or unpacked into a folder.
//
// Whoever made the zip is not trusted, and what is odd is refused rather than repaired: any path
// that check_path() refuses, a path twice or in two cases, a file that is also a folder,
// everything but plain files, folders and symbolic links, setuid and setgid bits, encryption, an
// entry that does not unpack to exactly what its header says, and more than the limits below. A
// symbolic link is never made: the files that it stands for are there once more (links.h). So there
// is nothing that a link or a path could lead to outside of `into`. The error names the entry.
// Modes are not kept. After an error, some of the files may be there.
//
// A library parses what a stranger wrote: the daemon reads a zip in a process of its own alone,
// unpacking.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace dormouse::control {

struct ArchiveLimits {
  std::size_t entries_max = 10'000;  // Files and folders, named, implied, or by links.
  std::uint64_t bytes_max = std::uint64_t{4} << 30;
};

// What is in a zip, in the order in which it is there. Paths are good, and no two are one place.
class ZipVisitor {
 public:
  virtual ~ZipVisitor() = default;
  virtual Result<> folder(const std::string& path) = 0;
  virtual Result<> file(const std::string& path, std::uint64_t size) = 0;
  virtual Result<> content(std::string_view piece) = 0;  // Of the latest file.
  // At the end: `path` has the content of `file`, which was there before.
  virtual Result<> copy(const std::string& path, const std::string& file) = 0;
};

// Loads what reading wants of the system's files, for a process that will not be able to.
void prepare_to_read_zips();

// `zip` is an open plain file. invalid_argument, too_large, or what the visitor says.
Result<> read_zip(int zip, const ArchiveLimits&, ZipVisitor*);

// `into` is an empty folder. invalid_argument, too_large.
Result<> unpack_zip(const std::filesystem::path& zip, const std::filesystem::path& into,
                    const ArchiveLimits& limits = {});

// A new, empty folder that only this user may enter. It is removed with all that is in it.
class TemporaryFolder {
 public:
  static Result<TemporaryFolder> make();
  TemporaryFolder(TemporaryFolder&& from) noexcept : path_(std::exchange(from.path_, {})) {}
  TemporaryFolder& operator=(TemporaryFolder&&) = delete;
  ~TemporaryFolder();

  const std::filesystem::path& path() const { return path_; }

 private:
  explicit TemporaryFolder(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
};

}  // namespace dormouse::control
