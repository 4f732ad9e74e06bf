#include "cli/watcher.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <array>

#include "cli/files.h"

namespace dormouse::cli {
namespace {

namespace fs = std::filesystem;

// Editors write a file, or write another and rename it; folders come and go.
constexpr std::uint32_t changes =
    IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ONLYDIR;

}  // namespace

Result<std::unique_ptr<Watcher>> Watcher::watch(const fs::path& what) {
  std::error_code failure;
  const bool is_folder = fs::is_directory(what, failure);
  const int descriptor = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  if (descriptor < 0) return system_error(Code::unavailable, "inotify");
  const fs::path folder = is_folder ? what : fs::absolute(what).parent_path();
  std::unique_ptr<Watcher> watcher(
      new Watcher(descriptor, folder, is_folder ? "" : what.filename().string()));
  if (auto done = watcher->add_all(); !done) return done.error();
  return watcher;
}

Watcher::~Watcher() {
  close(descriptor_);
}

Result<> Watcher::add(const fs::path& folder) {
  const int number = inotify_add_watch(descriptor_, folder.c_str(), changes);
  if (number >= 0) {
    folders_[number] = folder.lexically_relative(folder_);
    return ok;
  }
  if (errno == ENOENT || errno == ENOTDIR) return ok;  // Gone meanwhile, which is a change.
  if (errno == ENOSPC) {
    return Error{Code::unavailable,
                 "too many folders to watch; raise the sysctl fs.inotify.max_user_watches"};
  }
  return system_error(Code::unavailable, "watching " + folder.string());
}

// Adding one that is watched already changes nothing.
Result<> Watcher::add_all() {
  if (auto done = add(folder_); !done || !only_.empty()) return done;
  std::error_code failure;
  fs::recursive_directory_iterator entry(folder_, failure);
  for (; !failure && entry != fs::recursive_directory_iterator(); entry.increment(failure)) {
    std::error_code gone;
    if (!fs::is_directory(entry->symlink_status(gone))) continue;
    if (is_left_out(entry->path())) {
      entry.disable_recursion_pending();
      continue;
    }
    if (auto done = add(entry->path()); !done) return done;
  }
  return ok;  // A folder that went away while it was read is a change that is still to be taken.
}

Result<std::set<std::string>> Watcher::take() {
  std::set<std::string> changed;
  alignas(inotify_event) std::array<char, 16 * 1024> bytes;
  for (ssize_t got; (got = read(descriptor_, bytes.data(), bytes.size())) > 0;) {
    for (ssize_t at = 0; at < got;) {
      const auto* event = reinterpret_cast<const inotify_event*>(bytes.data() + at);
      at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
      const std::string name = event->len > 0 ? event->name : "";
      if ((event->mask & IN_Q_OVERFLOW) != 0) changed.insert(".");
      if (name.empty() || !folders_.contains(event->wd)) continue;
      const fs::path path = folder_ / folders_.at(event->wd) / name;
      if (only_.empty() ? is_left_out(path) : name != only_) continue;
      changed.insert((folders_.at(event->wd) / name).lexically_normal());
    }
  }
  if (changed.empty()) return changed;
  if (auto done = add_all(); !done) return done.error();
  return changed;
}

}  // namespace dormouse::cli
