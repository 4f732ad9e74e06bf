// The files of one model, opened once and mapped: what ONNX Runtime is given are these bytes, so
// that it opens no file itself and a file that is swapped afterwards changes nothing.
//
// Containment  A path is followed only below the revision's folder, without symbolic links, "..",
//              or magic links (openat2), and only to a regular file. A second name of a file (a
//              hard link) is refused where the folder can be written to. In production the folder
//              is mounted read-only and its files *are* links to blobs, made by the daemon alone:
//              see docs/decisions/004-external-data.md.
// Errors       invalid_argument, naming the location as the model writes it and what is wrong.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "runtimes/onnx/external_data.h"
#include "wire/socket.h"

namespace dormouse::onnx {

// Read-only bytes of a file.
class MappedFile {
 public:
  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept
      : address_(std::exchange(other.address_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(address_, other.address_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~MappedFile();

  static Result<MappedFile> map(int descriptor);
  Bytes bytes() const { return {static_cast<const std::byte*>(address_), size_}; }
  // Brings all of it into the page tables at once; 0.1 µs a page instead of a fault each.
  void populate() const;
  // Does so with a part of it, and keeps that in memory; false if that may not be. The kernel drops
  // the pages of a file that nobody has touched for a while, though there is room.
  bool lock(const Range&) const;

 private:
  void* address_ = nullptr;
  std::size_t size_ = 0;
};

// As openat2 with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS, where there is none: from folder to
// folder, none of which may be a link. `path` is relative, without "..". A link at its end is
// opened as such by O_PATH, and not at all without. -1, and errno.
int open_by_parts(int folder, const std::string& path, int flags);

// A folder below which files may be opened.
class Folder {
 public:
  static Result<Folder> open(const std::string& path);
  Result<MappedFile> map(std::string_view path) const;
  const std::string& path() const { return path_; }

 private:
  Result<wire::Descriptor> open_file(const std::string& path) const;
  std::string path_;
  wire::Descriptor descriptor_;
  bool read_only_ = false;
};

struct ExternalFile {
  std::string location;  // As the model writes it.
  MappedFile file;
};

struct ModelFiles {
  std::string folder;  // The model's: only to be shown to ONNX Runtime, which checks names in it.
  MappedFile model;
  std::vector<ExternalTensor> external_tensors;
  std::vector<ExternalFile> external_files;  // One a location.

  const ExternalFile* find(std::string_view location) const;
  void populate() const;
  // Of the weights that are read by a run: of what was packed only that. Some may be locked if
  // others cannot be.
  bool lock() const;
  std::uint64_t weights_bytes() const;

 private:
  std::vector<std::pair<const MappedFile*, Range>> used() const;
};

Result<ModelFiles> open_model(const Folder&, const std::string& path);

}  // namespace dormouse::onnx
