// Tells when what would be deployed has changed: one file, or anything in a folder but what is left
// out there (cli/files.h).
//
// Owns an inotify instance. One thread.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "base/result.h"

namespace dormouse::cli {

class Watcher {
 public:
  // unavailable if the system allows no more watches, with the setting that raises the limit.
  static Result<std::unique_ptr<Watcher>> watch(const std::filesystem::path& what);
  ~Watcher();
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

  int descriptor() const { return descriptor_; }  // Readable: ask take().

  // The paths that changed since it was asked last, below the folder; "." if they were too many to
  // be told. Folders that are new are
  // watched from now on: whoever reads the folder after this misses nothing.
  Result<std::set<std::string>> take();

 private:
  Watcher(int descriptor, std::filesystem::path folder, std::string only)
      : descriptor_(descriptor), folder_(std::move(folder)), only_(std::move(only)) {}

  Result<> add_all();
  Result<> add(const std::filesystem::path& folder);

  const int descriptor_;
  const std::filesystem::path folder_;
  const std::string only_;  // The one file's name; empty: all of them.
  std::map<int, std::filesystem::path> folders_;
};

}  // namespace dormouse::cli
