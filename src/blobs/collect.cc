#include <chrono>
#include <functional>
#include <utility>

#include "blobs/folder.h"

namespace dormouse::blobs {
namespace {

namespace fs = std::filesystem;

using Unwanted = std::function<bool(const fs::directory_entry&)>;

// Names only: what an entry is and how large may fail on its own and then is left alone.
Result<std::vector<fs::directory_entry>> entries_of(const fs::path& folder) {
  std::error_code failed;
  std::vector<fs::directory_entry> entries;
  fs::directory_iterator at(folder, failed), end;
  for (; !failed && at != end; at.increment(failed)) entries.push_back(*at);
  if (failed) return system_error(Code::unavailable, "reading " + folder.string(), failed.value());
  return entries;
}

bool untouched(const fs::directory_entry& entry, Duration stale) {
  std::error_code failed;
  const auto touched = entry.last_write_time(failed);
  return !failed && touched <= fs::file_time_type::clock::now() - stale;
}

Result<std::uint64_t> remove_unwanted(const fs::path& folder, const Unwanted& unwanted) {
  const auto entries = entries_of(folder);
  if (!entries) return entries.error();
  std::uint64_t freed = 0;
  std::error_code failed;
  for (const auto& entry : *entries) {
    if (!unwanted(entry)) continue;
    const bool is_file = entry.is_regular_file(failed);
    const std::uint64_t size = is_file ? entry.file_size(failed) : 0;
    fs::remove_all(entry.path(), failed);
    if (failed) {
      return system_error(Code::unavailable, "removing " + entry.path().string(), failed.value());
    }
    freed += size;
  }
  return freed;
}

}  // namespace

Result<std::uint64_t> Folder::collect(const std::set<Digest>& live,
                                      const std::set<std::string>& wanted_trees, Duration stale) {
  // Trees first: they hold links to the blobs.
  const auto tree_unwanted = [&](const fs::directory_entry& entry) {
    return !wanted_trees.contains(entry.path().filename().string()) && untouched(entry, stale);
  };
  const auto blob_unwanted = [&](const fs::directory_entry& entry) {
    const auto digest =
        Digest::parse(std::string(Digest::prefix) + entry.path().filename().string());
    return digest && !live.contains(*digest) && untouched(entry, stale);
  };
  const auto upload_unwanted = [&](const fs::directory_entry& entry) {
    if (!untouched(entry, stale)) return false;
    const auto digest =
        Digest::parse(std::string(Digest::prefix) + entry.path().filename().string());
    if (digest) open_.erase(*digest);
    return true;
  };
  std::uint64_t freed = 0;
  const auto remove = [&](const fs::path& folder, const Unwanted& unwanted) -> Result<> {
    const auto removed = remove_unwanted(folder, unwanted);
    if (!removed) return removed.error();
    freed += *removed;
    return ok;
  };
  if (auto removed = remove(trees(), tree_unwanted); !removed) return removed.error();
  if (auto removed = remove(uploads(), upload_unwanted); !removed) return removed.error();
  const auto shelves = entries_of(options_.dir / "sha256");
  if (!shelves) return shelves.error();
  for (const auto& shelf : *shelves) {
    if (auto removed = remove(shelf.path(), blob_unwanted); !removed) return removed.error();
  }
  return freed;
}

Result<std::uint64_t> Folder::discard(const std::set<Digest>& digests,
                                      const std::set<std::string>& unwanted_trees) {
  const std::set<Digest> adopted = std::exchange(adopted_, {});
  std::error_code failed;
  for (const std::string& name : unwanted_trees) {
    fs::remove_all(trees() / name, failed);
    if (failed) return system_error(Code::unavailable, "removing a tree", failed.value());
  }
  std::uint64_t freed = 0;
  for (const Digest& digest : digests) {
    if (adopted.contains(digest)) continue;
    const std::uint64_t size = fs::file_size(path(digest), failed);
    if (failed) continue;  // It is gone already.
    fs::remove(path(digest), failed);
    if (failed) return system_error(Code::unavailable, "removing a blob", failed.value());
    freed += size;
  }
  return freed;
}

}  // namespace dormouse::blobs
