#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "blobs/folder.h"

namespace dormouse::blobs {
namespace {

constexpr std::size_t path_bytes_max = 1024;

bool is_element(std::string_view name) {
  return !name.empty() && name.size() <= 255 && name != "." && name != ".." &&
         name.find('/') == name.npos && name.find('\0') == name.npos;
}

bool is_relative(std::string_view path) {
  if (path.size() > path_bytes_max) return false;
  for (;;) {
    const std::size_t slash = path.find('/');
    if (!is_element(path.substr(0, slash))) return false;
    if (slash == path.npos) return true;
    path.remove_prefix(slash + 1);
  }
}

Result<> make_folders(const std::filesystem::path& folder) {
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed) return system_error(Code::unavailable, "mkdir " + folder.string(), failed.value());
  return ok;
}

// One of a data folder from before blobs were executable is made so.
Result<> make_executable(const std::filesystem::path& file) {
  struct stat found{};
  if (::stat(file.c_str(), &found) != 0) return system_error(Code::unavailable, "stat");
  if ((found.st_mode & 07777) == blob_mode || ::chmod(file.c_str(), blob_mode) == 0) return ok;
  return system_error(Code::unavailable, "chmod " + file.string());
}

Result<> sync_tree(const std::filesystem::path& tree) {
  std::error_code failed;
  std::filesystem::recursive_directory_iterator entries(tree, failed), end;
  for (; !failed && entries != end; entries.increment(failed)) {
    if (!entries->is_directory()) continue;
    if (auto synced = sync_folder(entries->path()); !synced) return synced;
  }
  if (failed) return system_error(Code::unavailable, "reading " + tree.string(), failed.value());
  return sync_folder(tree);
}

}  // namespace

Result<std::filesystem::path> Folder::lay_out(
    const std::string& name, const std::vector<std::pair<std::string, Digest>>& files) {
  if (!is_element(name) || name.front() == '.') {
    return Error{Code::invalid_argument, "a tree's name is one path element"};
  }
  const auto tree = trees() / name;
  std::error_code failed;
  if (std::filesystem::is_directory(tree, failed)) {
    ::utimensat(AT_FDCWD, tree.c_str(), nullptr, 0);  // Young again for collect(): it is used.
    return tree;
  }
  const auto half_made = trees() / ("." + name);
  std::filesystem::remove_all(half_made, failed);
  auto filled = fill(half_made, files);
  if (filled && ::rename(half_made.c_str(), tree.c_str()) != 0) {
    filled = system_error(Code::unavailable, "rename to " + tree.string());
  }
  if (filled) filled = sync_folder(trees());
  if (filled) return tree;
  std::filesystem::remove_all(half_made, failed);
  return std::move(filled).error().during("laying out " + name);
}

Result<> Folder::fill(const std::filesystem::path& tree,
                      const std::vector<std::pair<std::string, Digest>>& files) {
  if (auto made = make_folders(tree); !made) return made;
  for (const auto& [where, digest] : files) {
    if (!is_relative(where)) {
      return Error{Code::invalid_argument, "\"" + where + "\" is not a relative path"};
    }
    if (auto made = make_folders((tree / where).parent_path()); !made) return made;
    if (::link(path(digest).c_str(), (tree / where).c_str()) == 0) {
      if (auto made = make_executable(tree / where); !made) return made;
      continue;
    }
    if (errno == ENOENT) return Error{Code::not_found, digest.text() + " is not here"};
    const Code code = errno == EEXIST ? Code::invalid_argument : Code::unavailable;
    return system_error(code, "link " + where);
  }
  return sync_tree(tree);
}

}  // namespace dormouse::blobs
