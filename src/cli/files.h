// What a deploy sends: the files of a folder, and their digests.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/result.h"

namespace dormouse::cli {

struct LocalFile {
  std::string path;               // In the revision.
  std::filesystem::path on_disk;  // Here.
  std::uint64_t size = 0;
};

// By its name: dot files, and what Python leaves behind whenever it runs what lies there.
bool is_left_out(const std::filesystem::path&);

// Every plain file below `folder`, sorted, but for dormouse.yaml and what is left out, with all
// that is below it. A symbolic link stands for those of them that it leads to; one that leads
// elsewhere is an Error: whoever made the folder could have it point anywhere.
Result<std::vector<LocalFile>> files_below(const std::filesystem::path& folder);

// `progress` is told how many bytes were read since the last time.
Result<Digest> digest_of(const LocalFile&, const std::function<void(std::uint64_t)>& progress);

// What changes when a file's content is replaced or written to: its size, inode and times. Empty if
// it is not there.
std::string stamp_of(const LocalFile&);

// The same place, there or not yet, as an absolute path without symbolic links, which the paths of
// the daemon's files must not have, and without a slash at its end.
std::filesystem::path real_path(const std::filesystem::path&);

// All of a file, which may also be a pipe. not_found if there is none; too_large beyond bytes_max.
Result<std::string> read_whole(const std::string& path, std::uint64_t bytes_max);

// The bytes [offset, offset + size) of a file.
Result<std::string> read_part(const LocalFile&, std::uint64_t offset, std::uint64_t size);

}  // namespace dormouse::cli
