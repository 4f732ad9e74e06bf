#include "sandbox/slot_roots.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace dormouse::sandbox {
namespace {

using wire::Descriptor;

constexpr std::uint64_t shm_bytes_max = 1 << 20;
constexpr unsigned long flags = MS_NOSUID | MS_NODEV;

// Does `work` where this thread's mounts are those of the sandbox, and "/" is its root.
Result<> inside(const Process& first, const auto& work) {
  // A thread that shares its root and folder with others may not change its mount namespace.
  if (unshare(CLONE_FS) != 0) return system_error(Code::unavailable, "unshare");
  const Descriptor home(open("/proc/thread-self/ns/mnt", O_RDONLY | O_CLOEXEC));
  const Descriptor root(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!home || !root) return system_error(Code::unavailable, "opening this thread's own mounts");
  if (setns(first.handle.number(), CLONE_NEWNS) != 0) {
    return system_error(Code::unavailable, "entering a sandbox's mounts");
  }
  Result<> done = work();
  CHECK(setns(home.number(), CLONE_NEWNS) == 0);
  CHECK(fchdir(root.number()) == 0 && chroot(".") == 0);
  return done;
}

Descriptor copy_of_tree(const char* path) {
  const auto recursive = static_cast<unsigned>(AT_RECURSIVE);
  return Descriptor(open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | recursive));
}

Result<> put(const Descriptor& tree, const std::string& path) {
  if (mkdir(path.c_str(), 0711) != 0) return system_error(Code::unavailable, "mkdir " + path);
  mount_attr attributes{};
  attributes.propagation = MS_PRIVATE;
  if (mount_setattr(tree.number(), "", AT_EMPTY_PATH | static_cast<unsigned>(AT_RECURSIVE),
                    &attributes, sizeof(attributes)) != 0) {
    return system_error(Code::unavailable, "mount_setattr " + path);
  }
  if (move_mount(tree.number(), "", AT_FDCWD, path.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0) {
    return system_error(Code::unavailable, "move_mount " + path);
  }
  return ok;
}

Result<> put_tmpfs(const std::string& path, const std::string& options, unsigned long further) {
  if (mount("tmpfs", path.c_str(), "tmpfs", flags | further, options.c_str()) != 0) {
    return system_error(Code::unavailable, "mounting " + path);
  }
  return ok;
}

std::string owned(std::uint32_t uid, std::uint64_t bytes) {
  constexpr std::uint64_t bytes_per_inode = 4096;
  const std::string id = std::to_string(uid);
  return "mode=700,uid=" + id + ",gid=" + id + ",size=" + std::to_string(bytes) +
         ",nr_inodes=" + std::to_string(16 + bytes / bytes_per_inode);
}

}  // namespace

Result<> begin_slot_roots(const Process& first) {
  return inside(first, []() -> Result<> {
    const Descriptor tree = copy_of_tree("/");
    if (!tree) return system_error(Code::unavailable, "open_tree /");
    auto mounted = put_tmpfs("/slots", "mode=711,size=4m,nr_inodes=70k", MS_NOEXEC);
    if (!mounted) return mounted;
    return put(tree, "/slots/template");
  });
}

Result<> make_slot_root(const Process& first, const SlotRoot& slot) {
  return inside(first, [&]() -> Result<> {
    const std::string path = slot.path();
    const Descriptor tree = copy_of_tree("/slots/template");
    if (!tree) return system_error(Code::unavailable, "open_tree /slots/template");
    if (auto there = put(tree, path); !there) return there;
    auto mounted = put_tmpfs(path + "/tmp", owned(slot.host_uid, slot.tmp_bytes_max), 0);
    if (!mounted) return mounted;
    return put_tmpfs(path + "/dev/shm", owned(slot.host_uid, shm_bytes_max), MS_NOEXEC);
  });
}

Result<> remove_slot_root(const Process& first, const SlotRoot& slot) {
  return inside(first, [&]() -> Result<> {
    const std::string path = slot.path();
    if (umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) != 0 || rmdir(path.c_str()) != 0) {
      return system_error(Code::unavailable, "removing " + path);
    }
    return ok;
  });
}

}  // namespace dormouse::sandbox
