#include "cli/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>

#include "cli/print.h"
#include "control/links.h"
#include "hash/sha256.h"
#include "wire/socket.h"

namespace dormouse::cli {
namespace {

namespace fs = std::filesystem;

Error refused(const std::string& why) {
  return {Code::invalid_argument, why};
}

constexpr std::size_t files_max = 10'000;

// Of a module whose source is there. Without it, the .pyc is what is imported.
bool is_compiled_beside_source(const fs::path& path) {
  std::error_code failure;
  return path.extension() == ".pyc" && fs::exists(fs::path(path).replace_extension(".py"), failure);
}

// With what links stand for. `files` is sorted by path, and so is what this gives.
Result<std::vector<LocalFile>> with_links(std::vector<LocalFile> files,
                                          const std::vector<control::Link>& links) {
  std::vector<std::string> paths;
  for (const LocalFile& file : files) paths.push_back(file.path);
  const auto copies = control::followed(links, paths, files_max - files.size());
  if (!copies) return copies.error();
  for (const auto& [path, of] : *copies) {
    const auto file = std::ranges::lower_bound(paths, of) - paths.begin();
    LocalFile copy = files[static_cast<std::size_t>(file)];
    copy.path = path;
    files.push_back(std::move(copy));
  }
  std::ranges::sort(files, {}, &LocalFile::path);
  return files;
}

}  // namespace

bool is_left_out(const fs::path& path) {
  return path.filename().string().starts_with('.') || path.filename() == "__pycache__" ||
         is_compiled_beside_source(path);
}

Result<std::vector<LocalFile>> files_below(const fs::path& folder) {
  std::error_code failure;
  std::vector<LocalFile> files;
  std::vector<control::Link> links;
  fs::recursive_directory_iterator entry(folder, failure);
  for (; !failure && entry != fs::recursive_directory_iterator(); entry.increment(failure)) {
    const std::string path = entry->path().lexically_relative(folder).generic_string();
    const fs::file_status status = entry->symlink_status(failure);
    if (failure) break;
    if (is_left_out(entry->path())) {
      if (fs::is_directory(status)) entry.disable_recursion_pending();
      continue;
    }
    if (path == "dormouse.yaml") continue;
    if (fs::is_symlink(status)) {
      links.push_back({path, fs::read_symlink(entry->path(), failure).generic_string()});
      continue;
    }
    if (fs::is_directory(status)) continue;
    if (!fs::is_regular_file(status)) return refused(path + " is not a plain file");
    if (files.size() == files_max) {
      return Error{Code::too_large, "more than " + std::to_string(files_max) + " files"};
    }
    files.push_back({path, entry->path(), entry->file_size(failure)});
  }
  if (failure) return refused("reading " + folder.string() + ": " + failure.message());
  std::ranges::sort(files, {}, &LocalFile::path);
  return with_links(std::move(files), links);
}

Result<Digest> digest_of(const LocalFile& file,
                         const std::function<void(std::uint64_t)>& progress) {
  std::ifstream stream(file.on_disk, std::ios::binary);
  if (!stream) return system_error(Code::invalid_argument, "opening " + file.on_disk.string());
  hash::Hasher hasher;
  std::string buffer(1 << 20, '\0');
  while (stream) {
    stream.read(buffer.data(), std::ssize(buffer));
    const auto size = static_cast<std::size_t>(stream.gcount());
    hasher.add(std::string_view(buffer).substr(0, size));
    progress(size);
  }
  if (!stream.eof()) return system_error(Code::invalid_argument, "reading " + file.path);
  return hash::as_digest(hasher.finish());
}

std::string stamp_of(const LocalFile& file) {
  struct stat facts{};
  if (::stat(file.on_disk.c_str(), &facts) != 0) return "";
  std::string text = std::to_string(facts.st_dev) + ":" + std::to_string(facts.st_ino) + ":" +
                     std::to_string(facts.st_size);
  for (const timespec& time : {facts.st_mtim, facts.st_ctim}) {
    text += ":" + std::to_string(time.tv_sec) + "." + std::to_string(time.tv_nsec);
  }
  return text;
}

fs::path real_path(const fs::path& path) {
  std::error_code failure;
  const fs::path real = fs::weakly_canonical(fs::absolute(path, failure), failure);
  if (failure) return path;
  return real.has_filename() ? real : real.parent_path();
}

// By system calls: a stream's iterators throw if it is a folder.
Result<std::string> read_whole(const std::string& path, std::uint64_t bytes_max) {
  const wire::Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return system_error(Code::not_found, "opening " + path);
  std::string bytes;
  std::array<char, 64 * 1024> piece;
  ssize_t got;
  while ((got = read(file.number(), piece.data(), piece.size())) > 0) {
    bytes.append(piece.data(), static_cast<std::size_t>(got));
    if (bytes.size() <= bytes_max) continue;
    return Error{Code::too_large, path + " has more than " + readable_size(bytes_max)};
  }
  if (got < 0) return system_error(Code::invalid_argument, "reading " + path);
  return bytes;
}

Result<std::string> read_part(const LocalFile& file, std::uint64_t offset, std::uint64_t size) {
  std::ifstream stream(file.on_disk, std::ios::binary);
  stream.seekg(static_cast<std::streamoff>(offset));
  std::string bytes(size, '\0');
  stream.read(bytes.data(), static_cast<std::streamsize>(size));
  if (!stream) return refused(file.path + " changed while it was read; deploy again");
  return bytes;
}

}  // namespace dormouse::cli
