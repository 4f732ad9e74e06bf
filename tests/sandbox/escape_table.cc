// S1 and S19: what must be denied, as tables.
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "escape.h"

namespace escape {
namespace {

constexpr const char* devices[] = {"/dev/mem",
                                   "/dev/kmem",
                                   "/dev/port",
                                   "/dev/kmsg",
                                   "/dev/kvm",
                                   "/dev/fuse",
                                   "/dev/net/tun",
                                   "/dev/vda",
                                   "/dev/sda",
                                   "/dev/nvme0n1",
                                   "/dev/loop0",
                                   "/dev/loop-control",
                                   "/dev/mapper/control",
                                   "/dev/snapshot",
                                   "/dev/userfaultfd",
                                   "/dev/vhost-net",
                                   "/dev/vhost-vsock",
                                   "/dev/vsock",
                                   "/dev/rtc0",
                                   "/dev/hpet",
                                   "/dev/input/event0",
                                   "/dev/dri/card0",
                                   "/dev/nvidia0",
                                   "/dev/cpu/0/msr",
                                   "/dev/mqueue/x",
                                   "/dev/hugepages/x",
                                   "/dev/console",
                                   "/dev/tty0",
                                   "/dev/uinput",
                                   "/dev/vfio/vfio",
                                   "/dev/btrfs-control",
                                   "/dev/autofs",
                                   "/dev/watchdog",
                                   "/dev/ppp",
                                   "/dev/cuse"};

constexpr const char* not_readable[] = {"/proc/kcore",
                                        "/proc/kallsyms",
                                        "/proc/keys",
                                        "/proc/key-users",
                                        "/proc/timer_list",
                                        "/proc/sched_debug",
                                        "/proc/vmallocinfo",
                                        "/proc/config.gz",
                                        "/proc/kmsg",
                                        "/proc/interrupts",
                                        "/proc/kpagecount",
                                        "/proc/kpageflags",
                                        "/proc/pagetypeinfo",
                                        "/proc/slabinfo",
                                        "/proc/latency_stats",
                                        "/proc/bootconfig",
                                        "/etc/shadow",
                                        "/root/.ssh/id_rsa",
                                        "/var/run/docker.sock",
                                        "/run/containerd/containerd.sock",
                                        "/sys/kernel/debug/gpio",
                                        "/sys/kernel/security/lsm",
                                        "/sys/firmware/acpi/tables/DSDT",
                                        "/sys/fs/cgroup/memory/release_agent",
                                        "/sys/fs/cgroup/release_agent",
                                        "/sys/fs/cgroup/cgroup.procs",
                                        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                                        "/sys/fs/cgroup/memory.max",
                                        "/sys/module/kernel/parameters/panic"};

constexpr const char* not_writable[] = {"/proc/sysrq-trigger",
                                        "/proc/sys/kernel/core_pattern",
                                        "/proc/sys/kernel/modprobe",
                                        "/proc/sys/kernel/hostname",
                                        "/proc/sys/kernel/sysrq",
                                        "/proc/sys/kernel/randomize_va_space",
                                        "/proc/sys/kernel/panic",
                                        "/proc/sys/kernel/ns_last_pid",
                                        "/proc/sys/kernel/shmmax",
                                        "/proc/sys/vm/drop_caches",
                                        "/proc/sys/vm/overcommit_memory",
                                        "/proc/sys/vm/panic_on_oom",
                                        "/proc/sys/fs/file-max",
                                        "/proc/sys/fs/binfmt_misc/register",
                                        "/proc/sys/net/ipv4/ip_forward",
                                        "/proc/sys/net/core/somaxconn",
                                        "/proc/sys/user/max_user_namespaces",
                                        "/proc/irq/0/smp_affinity",
                                        "/proc/bus/pci/devices",
                                        "/proc/fs/ext4",
                                        "/proc/self/setgroups",
                                        "/proc/mtrr",
                                        "/proc/driver/x",
                                        "/sys/power/state",
                                        "/sys/kernel/uevent_helper",
                                        "/sys/kernel/mm/transparent_hugepage/enabled",
                                        "/sys/fs/cgroup/memory/release_agent",
                                        "/sys/fs/cgroup/memory/notify_on_release",
                                        "/sys/fs/cgroup/cgroup.procs",
                                        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                                        "/bin/worker",
                                        "/escaped",
                                        "/bin/escaped",
                                        "/lib/escaped",
                                        "/code/escaped",
                                        "/dev/escaped",
                                        "/proc/escaped",
                                        "/sys/escaped",
                                        "/out/escaped",
                                        "/../escaped"};

// Creating is tried too: what is not there must not come to be.
long open_to_write(const char* path) {
  const long file =
      call(SYS_openat, AT_FDCWD, reinterpret_cast<long>(path), O_WRONLY | O_CREAT, 0600);
  if (file >= 0) close(static_cast<int>(file));
  return file;
}

// Masked files open as empty ones.
long read_from(const char* path) {
  const long file = call(SYS_openat, AT_FDCWD, reinterpret_cast<long>(path), O_RDONLY | O_NONBLOCK);
  if (file < 0) return file;
  char text[64];
  const ssize_t size = read(static_cast<int>(file), text, sizeof(text));
  close(static_cast<int>(file));
  return size > 0 ? size : -ENODATA;
}

long open_device(const char* path) {
  const long file = call(SYS_openat, AT_FDCWD, reinterpret_cast<long>(path), O_RDONLY | O_NONBLOCK);
  if (file >= 0) close(static_cast<int>(file));
  return file;
}

long address(const void* of) {
  return reinterpret_cast<long>(of);
}

void try_files() {
  for (const char* path : devices) report("device", path, open_device(path));
  for (const char* path : not_readable) report("read", path, read_from(path));
  for (const char* path : not_writable) report("write", path, open_to_write(path));
}

void try_mounts() {
  constexpr const char* kinds[] = {"tmpfs",  "proc",    "sysfs", "cgroup",  "cgroup2",
                                   "devpts", "overlay", "bpf",   "debugfs", "securityfs"};
  for (const char* kind : kinds) {
    report("mount", kind, call(SYS_mount, address("none"), address("/tmp"), address(kind), 0, 0));
    report("fsopen", kind, call(SYS_fsopen, address(kind), 0));
  }
  report("mount", "bind", call(SYS_mount, address("/proc"), address("/tmp"), 0, MS_BIND, 0));
  report("mount", "remount /", call(SYS_mount, 0, address("/"), 0, MS_REMOUNT | MS_BIND, 0));
  report("mount", "make / shared", call(SYS_mount, 0, address("/"), 0, MS_SHARED | MS_REC, 0));
  report("mount", "move /proc", call(SYS_mount, address("/proc"), address("/tmp"), 0, MS_MOVE, 0));
  for (const char* path : {"/proc", "/code", "/tmp", "/dev", "/proc/sys", "/proc/kcore"}) {
    report("umount", path, call(SYS_umount2, address(path), MNT_DETACH));
  }
  report("mount", "pivot_root", call(SYS_pivot_root, address("/tmp"), address("/tmp")));
  report("mount", "chroot", call(SYS_chroot, address("/tmp")));
  report("mount", "open_tree", call(SYS_open_tree, AT_FDCWD, address("/"), OPEN_TREE_CLONE));
  report("mount", "move_mount",
         call(SYS_move_mount, AT_FDCWD, address("/proc"), AT_FDCWD, address("/tmp"), 0));
  mount_attr clear{};
  clear.attr_clr = MOUNT_ATTR_RDONLY;
  report("mount", "mount_setattr",
         call(SYS_mount_setattr, AT_FDCWD, address("/"), 0, address(&clear), sizeof(clear)));
}

void try_namespaces() {
  constexpr struct {
    const char* name;
    unsigned flag;
  } kinds[] = {{"mount", CLONE_NEWNS}, {"cgroup", CLONE_NEWCGROUP}, {"uts", CLONE_NEWUTS},
               {"ipc", CLONE_NEWIPC},  {"user", CLONE_NEWUSER},     {"pid", CLONE_NEWPID},
               {"net", CLONE_NEWNET},  {"time", CLONE_NEWTIME}};
  for (const auto& kind : kinds) {
    report("unshare", kind.name, call(SYS_unshare, kind.flag));
    const long child = call(SYS_clone, kind.flag | SIGCHLD);
    if (child == 0) _exit(0);
    if (child > 0) waitpid(static_cast<pid_t>(child), nullptr, 0);
    report("clone", kind.name, child);
    const std::string path =
        std::string("/proc/self/ns/") + (std::strcmp(kind.name, "mount") == 0 ? "mnt" : kind.name);
    const int own = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    report("setns", kind.name, call(SYS_setns, own, 0));
    close(own);
  }
  clone_args arguments{};
  arguments.flags = CLONE_NEWUSER;
  arguments.exit_signal = SIGCHLD;
  const long child = call(SYS_clone3, address(&arguments), sizeof(arguments));
  if (child == 0) _exit(0);
  report("clone", "clone3 user", child);
}

void try_kernel() {
  char space[4096]{};
  bpf_attr program{};
  int pair[2] = {-1, -1};
  socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair);
  const linger patience{1, 3600};
  const auto lingers = [&](long beyond_32_bits) {
    return call(SYS_setsockopt, pair[0], SOL_SOCKET | beyond_32_bits, SO_LINGER | beyond_32_bits,
                address(&patience), sizeof(patience));
  };
  struct {
    const char* name;
    long result;
  } rows[] = {
      {"bpf", call(SYS_bpf, BPF_PROG_LOAD, address(&program), sizeof(program))},
      {"perf_event_open", call(SYS_perf_event_open, address(space), 0, -1, -1, 0)},
      {"io_uring_setup", call(SYS_io_uring_setup, 8, address(space))},
      {"userfaultfd", call(SYS_userfaultfd, 0)},
      {"inotify_init1", call(SYS_inotify_init1, 0)},
      {"keyctl", call(SYS_keyctl, 0, -3, 1)},
      {"add_key", call(SYS_add_key, address("user"), address("x"), address("y"), 1, -3)},
      {"request_key", call(SYS_request_key, address("user"), address("x"), 0, -3)},
      {"init_module", call(SYS_init_module, address(space), 16, address(""))},
      {"finit_module", call(SYS_finit_module, 0, address(""), 0)},
      {"delete_module", call(SYS_delete_module, address("x"), O_NONBLOCK)},
      {"kexec_load", call(SYS_kexec_load, 0, 0, 0, 0)},
      {"kexec_file_load", call(SYS_kexec_file_load, 0, 0, 0, address(""), 0)},
      {"reboot", call(SYS_reboot, 0xfee1dead, 672274793, 0, 0)},
      {"syslog", call(SYS_syslog, 3, address(space), sizeof(space))},
      {"swapon", call(SYS_swapon, address("/tmp/x"), 0)},
      {"acct", call(SYS_acct, address("/tmp/x"))},
      {"quotactl", call(SYS_quotactl, 0, 0, 0, 0)},
      {"nfsservctl", call(SYS_nfsservctl, 0, 0, 0)},
      {"lookup_dcookie", call(SYS_lookup_dcookie, 0, address(space), sizeof(space))},
      {"open_by_handle_at", call(SYS_open_by_handle_at, AT_FDCWD, address(space), O_RDONLY)},
      {"name_to_handle_at", call(SYS_name_to_handle_at, AT_FDCWD, address("/"), address(space),
                                 address(space + 1024), 0)},
      {"fanotify_init", call(SYS_fanotify_init, 0, O_RDONLY)},
      {"iopl", call(SYS_iopl, 3)},
      {"ioperm", call(SYS_ioperm, 0x80, 1, 1)},
      {"modify_ldt", call(SYS_modify_ldt, 0, address(space), sizeof(space))},
      {"personality", call(SYS_personality, ADDR_NO_RANDOMIZE)},
      {"vhangup", call(SYS_vhangup)},
      {"settimeofday", call(SYS_settimeofday, address(space), 0)},
      {"clock_settime", call(SYS_clock_settime, 0, address(space))},
      {"adjtimex", call(SYS_adjtimex, address(space))},
      {"sethostname", call(SYS_sethostname, address("x"), 1)},
      {"setdomainname", call(SYS_setdomainname, address("x"), 1)},
      {"mknod", call(SYS_mknod, address("/tmp/device"), S_IFBLK | 0600, 0xfe00)},
      {"mknodat", call(SYS_mknodat, AT_FDCWD, address("/tmp/device"), S_IFCHR | 0600, 0x101)},
      {"memfd_secret", call(447, 0)},
      {"landlock_restrict_self", call(446, 0, 0)},
      {"process_madvise", call(440, 0, 0, 0, 0, 0)},
      {"migrate_pages", call(SYS_migrate_pages, 0, 8, address(space), address(space))},
      {"move_pages", call(SYS_move_pages, 0, 0, 0, 0, 0, 0)},
      {"mbind", call(SYS_mbind, 0, 0, 0, 0, 0, 0)},
      {"shmget", call(SYS_shmget, 0, 4096, 01600)},
      {"msgget", call(SYS_msgget, 0, 01600)},
      {"semget", call(SYS_semget, 0, 1, 01600)},
      {"mq_open", call(SYS_mq_open, address("x"), O_CREAT | O_RDWR, 0600, 0)},
      {"io_setup", call(SYS_io_setup, 1, address(space))},
      {"vmsplice", call(SYS_vmsplice, 1, address(space), 0, 0)},
      {"SO_LINGER", lingers(0)},
      {"SO_LINGER in 64 bits", lingers(1L << 32)},
  };
  for (const auto& row : rows) report("kernel", row.name, row.result);
  close(pair[0]), close(pair[1]);
}

void try_identity() {
  report("identity", "setuid 0", call(SYS_setuid, 0));
  report("identity", "setgid 0", call(SYS_setgid, 0));
  report("identity", "setresuid 0", call(SYS_setresuid, 0, 0, 0));
  report("identity", "setresuid 1001", call(SYS_setresuid, 1001, 1001, 1001));
  const unsigned groups[] = {0};
  report("identity", "setgroups", call(SYS_setgroups, 1, address(groups)));
  const std::uint32_t header[] = {0x20080522, 0};
  const std::uint32_t every[] = {~0U, ~0U, ~0U, ~0U, ~0U, ~0U};
  report("identity", "capset", call(SYS_capset, address(header), address(every)));
  report("identity", "chown", call(SYS_chown, address("/tmp"), 0, 0));
  report("identity", "setfsuid", call(SYS_setfsuid, 0) == 0 ? 0 : -EPERM);
  report("identity", "nice -20", call(SYS_setpriority, PRIO_PROCESS, 0, -20));
  const rlimit more{1 << 20, 1 << 20};
  report("identity", "more descriptors", call(SYS_setrlimit, RLIMIT_NOFILE, address(&more)));
  report("identity", "core files", call(SYS_setrlimit, RLIMIT_CORE, address(&more)));
  const int score = open("/proc/self/oom_score_adj", O_WRONLY);
  report("identity", "oom_score_adj -1000",
         score < 0 ? -errno : call(SYS_write, score, address("-1000"), 5));
  for (const char* map : {"/proc/self/uid_map", "/proc/self/gid_map"}) {
    const int file = open(map, O_WRONLY | O_CLOEXEC);
    report("identity", map, file < 0 ? -errno : call(SYS_write, file, address("0 0 1"), 5));
    close(file);
  }
  // The bit may not be taken back: a setuid file gives nothing either.
  report("identity", "new privileges", call(SYS_prctl, 39, 0, 0, 0, 0) == 1 ? -EPERM : 0);
  report("identity", "keep capabilities", call(SYS_prctl, 24, 0, 0, 0, 0) == 1 ? 0 : -EPERM);
}

// Of a child of the same user: what is allowed on it would be allowed on a neighbour's processes.
void try_other_process() {
  const pid_t child = fork();
  if (child == 0) {
    pause();
    _exit(0);
  }
  char byte = 0;
  const struct {
    void* base;
    std::size_t size;
  } part = {&byte, 1};
  report("process", "ptrace attach", call(SYS_ptrace, PTRACE_ATTACH, child, 0, 0));
  report("process", "ptrace seize", call(SYS_ptrace, PTRACE_SEIZE, child, 0, 0));
  report("process", "ptrace traceme", call(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0));
  report("process", "process_vm_readv",
         call(SYS_process_vm_readv, child, address(&part), 1, address(&part), 1, 0));
  report("process", "process_vm_writev",
         call(SYS_process_vm_writev, child, address(&part), 1, address(&part), 1, 0));
  report("process", "kcmp", call(SYS_kcmp, getpid(), child, 0, 0, 0));
  report("process", "pidfd_getfd", call(438, call(434, child, 0), 0, 0));
  call(SYS_kill, child, SIGKILL);
  waitpid(child, nullptr, 0);
  for (const int pid : {2, 300, 1000, 5000}) {
    report("process", "signal " + std::to_string(pid), call(SYS_kill, pid + 100'000, 0));
  }
}

void try_terminal() {
  char byte = 'x';
  for (const int descriptor : {0, 1, 2, wire_socket()}) {
    const std::string of = " of " + std::to_string(descriptor);
    report("terminal", "TIOCSTI" + of, call(SYS_ioctl, descriptor, TIOCSTI, address(&byte)));
    report("terminal", "TIOCLINUX" + of, call(SYS_ioctl, descriptor, TIOCLINUX, address(&byte)));
    report("terminal", "TIOCSCTTY" + of, call(SYS_ioctl, descriptor, TIOCSCTTY, 1));
  }
}

}  // namespace

int try_table() {
  try_files();
  try_mounts();
  try_namespaces();
  try_kernel();
  try_identity();
  try_other_process();
  try_terminal();
  for (int family = 0; family < 46; ++family) {
    if (family == AF_UNIX) continue;
    for (const int type : {SOCK_STREAM, SOCK_RAW}) {
      const std::string name = std::to_string(family) + (type == SOCK_RAW ? " raw" : " stream");
      report("socket", name, call(SYS_socket, family, type, 0));
    }
  }
  return 0;
}

}  // namespace escape
