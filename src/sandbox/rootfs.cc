#include "sandbox/rootfs.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "wire/socket.h"

namespace dormouse::sandbox {
namespace {

namespace fs = std::filesystem;
using wire::Descriptor;

Error refused(std::string what) {
  return {Code::invalid_argument, std::move(what)};
}

// Beneath `root`, through no link of any kind. `flags` are open()'s.
Descriptor open_beneath(int root, const std::string& path, std::uint64_t flags,
                        std::uint64_t mode = 0) {
  open_how how{};
  how.flags = flags | O_CLOEXEC;
  how.mode = mode;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return Descriptor(static_cast<int>(syscall(SYS_openat2, root, path.c_str(), &how, sizeof(how))));
}

// The folder at `path` beneath `root`, made if it is not there.
Result<> need_folder(int root, const std::string& path) {
  if (open_beneath(root, path, O_PATH | O_DIRECTORY)) return ok;
  if (errno != ENOENT) return refused("/" + path + " is not a real folder");
  std::string so_far;
  Descriptor above = open_beneath(root, ".", O_PATH | O_DIRECTORY);
  for (const fs::path& part : fs::path(path)) {
    if (mkdirat(above.number(), part.c_str(), 0755) != 0 && errno != EEXIST) {
      return system_error(Code::invalid_argument, "making /" + path + " in the root");
    }
    so_far += (so_far.empty() ? "" : "/") + part.string();
    above = open_beneath(root, so_far, O_PATH | O_DIRECTORY);
    if (!above) return refused("/" + so_far + " is not a real folder");
  }
  return ok;
}

Result<> need_file(int root, const std::string& path) {
  const fs::path folder = fs::path(path).parent_path();
  if (!folder.empty()) {
    if (auto made = need_folder(root, folder); !made) return made;
  }
  // O_PATH does not follow: what is found may be a file but no link, device or pipe.
  const Descriptor found = open_beneath(root, path, O_PATH | O_NOFOLLOW);
  if (!found) {
    if (open_beneath(root, path, O_WRONLY | O_CREAT | O_EXCL, 0644)) return ok;
    return system_error(Code::invalid_argument, "making /" + path + " in the root");
  }
  struct stat status{};
  fstat(found.number(), &status);
  if (!S_ISREG(status.st_mode)) return refused("/" + path + " is not a plain file");
  return ok;
}

// The program's user is nobody on the host: every folder above the root must let others through.
Result<> check_way_to(const fs::path& root) {
  for (fs::path at = root;; at = at.parent_path()) {
    struct stat status{};
    if (lstat(at.c_str(), &status) != 0) {
      return system_error(Code::invalid_argument, "root " + at.string());
    }
    if (!S_ISDIR(status.st_mode)) return refused("root: " + at.string() + " is not a folder");
    if ((status.st_mode & S_IXOTH) == 0) {
      return refused("root: " + at.string() + " is closed to others (chmod o+x)");
    }
    if (at == at.root_path()) return ok;
  }
}

Result<> check_bind(int root, const Bind& bind) {
  const fs::path target(bind.target);
  if (!target.is_absolute() || target.lexically_normal() != target || target == "/" ||
      bind.target.ends_with('/') || bind.target.starts_with("//")) {
    return refused("bind target " + bind.target + " is not a plain absolute path");
  }
  struct stat status{};
  if (lstat(bind.source.c_str(), &status) != 0) {
    return system_error(Code::invalid_argument, "bind source " + bind.source.string());
  }
  const std::string relative = target.relative_path();
  if (S_ISDIR(status.st_mode)) return need_folder(root, relative);
  if (S_ISREG(status.st_mode)) return need_file(root, relative);
  return refused("bind source " + bind.source.string() + " is neither a file nor a folder");
}

}  // namespace

Result<> check_root(const fs::path& root, const std::vector<Bind>& binds, bool forks) {
  if (!root.is_absolute() || root.lexically_normal() != root) {
    return refused("root " + root.string() + " is not a plain absolute path");
  }
  if (auto passable = check_way_to(root); !passable) return passable;
  const Descriptor folder(open(root.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!folder) return system_error(Code::invalid_argument, "root " + root.string());
  for (const char* needed : {"dev", "proc", "sys", "tmp", "code", "slots"}) {
    if (!forks && needed == std::string_view("slots")) continue;
    if (auto found = need_folder(folder.number(), needed); !found) {
      return std::move(found).error().during("root " + root.string());
    }
  }
  // runc gives what it mounts at /tmp the mode of the folder beneath.
  const Descriptor tmp = open_beneath(folder.number(), "tmp", O_RDONLY | O_DIRECTORY);
  if (!tmp || fchmod(tmp.number(), 01777) != 0) {
    return system_error(Code::invalid_argument, "opening /tmp of the root to all");
  }
  for (const Bind& bind : binds) {
    if (auto checked = check_bind(folder.number(), bind); !checked) return checked;
  }
  return ok;
}

Result<> give_to(const std::vector<Bind>& binds, std::uint32_t uid) {
  for (const Bind& bind : binds) {
    if (!bind.writable) continue;
    if (lchown(bind.source.c_str(), uid, uid) != 0) {
      return system_error(Code::unavailable, "chown " + bind.source.string());
    }
  }
  return ok;
}

Result<> make_stage(const fs::path& folder) {
  const char* at = folder.c_str();
  // Private first: as a peer of what lies beneath, it would show its mounts there as well. Then
  // shared, which makes it a group of its own for the sandbox to follow.
  if (mount(at, at, nullptr, MS_BIND, nullptr) != 0 ||
      mount(nullptr, at, nullptr, MS_PRIVATE, nullptr) != 0 ||
      mount(nullptr, at, nullptr, MS_SHARED, nullptr) != 0) {
    return system_error(Code::unavailable, "mount " + folder.string());
  }
  return ok;
}

Result<> show_on_stage(const fs::path& tree, const fs::path& folder) {
  const auto recursive = static_cast<unsigned>(AT_RECURSIVE);
  const unsigned how = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | recursive | AT_SYMLINK_NOFOLLOW;
  const Descriptor copy(open_tree(AT_FDCWD, tree.c_str(), how));
  if (!copy) return system_error(Code::invalid_argument, "open_tree " + tree.string());
  // Read-only before it appears: a change after that would not reach the sandbox.
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
  attributes.propagation = MS_PRIVATE;
  if (mount_setattr(copy.number(), "", AT_EMPTY_PATH | recursive, &attributes,
                    sizeof(attributes)) != 0) {
    return system_error(Code::unavailable, "mount_setattr");
  }
  if (move_mount(copy.number(), "", AT_FDCWD, folder.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0) {
    return system_error(Code::unavailable, "move_mount");
  }
  return ok;
}

void clear_stage(const fs::path& folder) {
  // The stage itself and what was shown on it; a bound, since a failing unmount ends it anyway.
  for (int layer = 0; layer < 8; ++layer) {
    if (umount2(folder.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) != 0) return;
  }
}

}  // namespace dormouse::sandbox
