// The few system calls that blobs is made of, as Results. For blobs' own .cc files.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace dormouse::blobs {

// Nobody writes to a blob again; in a tree it may be a program.
inline constexpr mode_t blob_mode = 0555;

class File {
 public:
  File() = default;
  explicit File(int descriptor) : descriptor_(descriptor) {}
  File(File&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  File& operator=(File&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~File();
  int get() const { return descriptor_; }

 private:
  int descriptor_ = -1;
};

Result<File> open_for_writing(const std::filesystem::path& file);
// Opened without following a link anywhere in the path; a plain file with one name.
Result<File> open_untrusted(const std::filesystem::path& file);
Result<std::uint64_t> size_of(const File&);

Result<> write_at(const File&, std::uint64_t offset, std::string_view bytes);
using Visit = std::function<Result<>(std::string_view piece)>;
Result<> read_pieces(const File&, std::uint64_t from, const Visit&);

Result<> sync(const File&);
Result<> sync_folder(const std::filesystem::path& folder);
// Syncs, gives it blob_mode, renames and syncs the folder: after it, `to` is durable and complete.
Result<> publish(const File&, const std::filesystem::path& from, const std::filesystem::path& to);
Result<> make_folder(const std::filesystem::path& folder);  // Durable; fine if it is there.

}  // namespace dormouse::blobs
