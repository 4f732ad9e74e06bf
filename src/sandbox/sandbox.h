// Runs one untrusted program as an isolated process, and tells how it ended and what it used.
//
// An existing OCI runtime (runc, or crun or runsc by configuration) makes the wall: user, mount,
// pid, ipc, uts and network namespaces, a read-only root, no capabilities, no_new_privs, a seccomp
// allow-list. We write the bundle, check the root file system first, and enter the sandbox's own
// cgroups before executing the OCI runtime, so that limits hold for that runtime too. cgroup v1
// and v2 are both supported.
//
// This module knows nothing of functions, models or invocations.
//
// Ownership  A Sandbox owns its process tree, cgroups, mounts and folders: its destructor kills
//            and removes all of it (the slow part on the launcher's thread). Nothing outlives the
//            Launcher. It is never moved.
// Threads    Use it on the executor that launch() was awaited on, and nowhere else.
// Errors     launch(): invalid_argument if the spec cannot be honoured (no such root, a root whose
//            /dev, /proc or /sys is not a real directory, no such device), unsupported if not under
//            this OCI runtime, unavailable if the OCI runtime fails.
// Units      Bytes; thousandths of a core; microseconds.
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "async/clock.h"
#include "base/result.h"
#include "sandbox/addresses.h"
#include "wire/socket.h"

namespace dormouse::sandbox {

inline constexpr std::uint32_t processes_max_default = 64;

struct Limits {
  std::uint64_t memory_bytes_max;  // Crossing it kills the whole sandbox: Exit::memory_limit.
  std::uint32_t cpu_millicores_max;
  std::uint32_t processes_max = processes_max_default;  // And threads.
  std::uint64_t tmp_bytes_max = 64 << 20;               // /tmp; counted as memory too.
  std::uint64_t open_files_max = 1024;
  std::uint64_t file_bytes_max = 0;  // Of each file that it writes; 0: only what there is room for.
};

struct Bind {
  std::filesystem::path source;  // On the host; a file or a folder.
  std::string target;            // "/out"; made if the root lacks it.
  bool writable = false;
};

struct Spec {
  std::filesystem::path root;     // Mounted read-only as "/"; has an empty /slots if it `forks`.
  std::vector<std::string> argv;  // argv[0] is a path inside `root`.
  std::vector<std::string> env;   // "NAME=value". Nothing of ours is inherited.
  Limits limits;
  std::vector<Bind> binds;
  // The program forks instances of itself into slots: it keeps the capabilities to change its uid,
  // gid and root, within its own range of uids. Not under runsc.
  bool forks = false;
  // Of the host, for the program to use: "/dev/nvidia0". Not under runsc. devices.h
  std::vector<std::filesystem::path> devices;
  // The program may make IP sockets. Its network namespace has its own loopback and nothing else,
  // until attach().
  bool loopback = false;
};

struct Endpoint {
  Ipv4 address;
  std::uint16_t port = 0;
  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

// What a sandbox may reach by TCP and UDP: of the world if it may reach that, and what is allowed
// by name, private addresses included. Never the host's own addresses, nor other sandboxes.
// Nothing can reach it.
struct Reach {
  bool world = false;  // Every address that private_ranges() do not hold.
  std::vector<Endpoint> allowed;
  std::vector<std::pair<std::string, Ipv4>> names;  // It finds them without asking anybody.
  std::vector<Ipv4> resolvers;  // Whom it asks for others, of the world. Empty: the launcher's.
};

enum class Exit : std::uint8_t {
  returned,
  crashed,
  memory_limit,
  processes_limit,
  killed,
  untold,  // It ended: before Linux 6.15 nobody says how a fork did.
};
struct Ended {
  Exit exit;
  int status;  // The exit status, or 128 + the signal's number; 0 if untold.
};

struct Usage {
  Duration cpu_time{};  // Since launch() completed.
  std::uint64_t memory_bytes_peak = 0;
};

// RLIMIT_CORE of whoever may hold a secret: no room for a file, and, unlike 0, none of a pipe
// either (man 5 core; the kernel's do_coredump() takes 1 for a handler that crashed itself).
inline constexpr rlimit no_core{1, 1};

// Of a program, timers among them. The host counts those of all sandboxes as its root's.
inline constexpr std::uint64_t pending_signals_max = 256;

// Where the memory of its processes lies, in bytes. What they share with others is whole in
// `anonymous` and no part of `own`.
struct Pages {
  std::uint64_t anonymous = 0;
  std::uint64_t huge = 0;  // Of that, in huge pages.
  std::uint64_t own = 0;   // Written by them, and their page tables.
};

class Slot;

class Sandbox {
 public:
  virtual ~Sandbox() = default;
  virtual const std::string& name() const = 0;  // Unique on this host; names its cgroups.
  // Our end of the socket that is descriptor 3 inside. Non-blocking. Belongs to the Sandbox.
  virtual int socket() const = 0;
  // Reads what the program wrote to stdout and stderr. Non-blocking. Belongs to the Sandbox.
  virtual int output() const = 0;

  // Makes the folder `tree` appear, read-only, at /code of the running sandbox: what turns a blank
  // sandbox into a revision's. Once at most. Every file in `tree` may itself be a bind mount.
  virtual asio::awaitable<Result<>> reveal(std::filesystem::path tree) = 0;
  // Gives the running sandbox a network, once at most. `unsupported` if its Spec has no `loopback`,
  // or under runsc; unavailable if the host lacks what it takes, with what to do.
  virtual asio::awaitable<Result<>> attach(Reach) = 0;
  virtual Result<> set_limits(const Limits&) = 0;  // Of memory, CPU and processes.

  virtual asio::awaitable<Ended> wait() = 0;  // One waiter at a time. Completes after the whole
                                              // process tree is dead.
  virtual void kill() = 0;                    // Returns at once; wait() says when it is gone.
  virtual Usage usage() const = 0;            // Final once wait() completed. A few µs.
  virtual Duration cpu_time() const { return usage().cpu_time; }  // Only that, sooner.
  virtual std::uint64_t memory_bytes() const = 0;                 // Held at the moment.
  virtual void reset_peak() = 0;  // memory_bytes_peak counts from here on.
  // Looks whether the program is a fork bomb: it keeps trying to make processes beyond its limit.
  // Then it is killed, with Exit::processes_limit. Gives after what time to look again, for as long
  // as the program works; nullopt if it was killed. A few µs.
  virtual std::optional<Duration> mind_forks(TimePoint now) = 0;
  virtual asio::awaitable<Pages> pages() const = 0;  // Of the program alone, without its slots.

  // A connection to a port of the program's own loopback, which does not block; `loopback` must be
  // in the Spec. conflict if nothing listens there; unsupported under runsc, whose network is its
  // own.
  virtual asio::awaitable<Result<wire::Descriptor>> connect(std::uint16_t port) = 0;

  // A place for one fork of the program, with these limits of its own; from the first slot on the
  // Sandbox's limits hold for the program alone. The Slot must not outlive the Sandbox.
  // `unsupported` unless the Spec said that it forks.
  virtual asio::awaitable<Result<std::unique_ptr<Slot>>> make_slot(Limits) = 0;
};

// One fork of a sandbox's program, walled off from its siblings by uid, a root of its own with its
// own /tmp and /dev/shm, control groups and output; but not by namespaces. As a Sandbox it is that
// fork alone: wait(), kill(), usage() and pages() are about it. reveal(), attach() and make_slot()
// are `unsupported`.
class Slot : public Sandbox {
 public:
  virtual const std::string& root() const = 0;  // Inside the sandbox: "/slots/7".
  virtual std::uint32_t uid() const = 0;        // Inside, as the gid.

  struct Inner {
    wire::Descriptor socket, output;
  };
  virtual Inner take_inner() = 0;  // For the fork to have. Once.

  // The fork is this process, as the kernel says of who sent from the inner socket. Puts it into
  // the slot's control groups. invalid_argument if it is none of this sandbox; not_found if it has
  // ended. Once.
  virtual asio::awaitable<Result<>> admit(pid_t) = 0;
  // What the fork holds open that it inherited, and that is its siblings', too: "socket:[123]",
  // "/tmp/log". After admit().
  virtual std::vector<std::string> inherited_files() const = 0;
  // What the process that it was forked from still has, and it has not: threads beside the first,
  // "worker-7 of libgomp.so.1.0.0", and processes that it left running, "sleep"; "…" at the end of
  // many. After admit(), before there are other forks; not_found if it has ended.
  struct LeftBehind {
    std::vector<std::string> threads, processes;
  };
  virtual asio::awaitable<Result<LeftBehind>> left_behind() const = 0;
  // Which of these values, by their place, lie in the memory of the process that it was forked
  // from: its own, and what it can write. After admit(); not_found if it has ended, unsupported if
  // it has reserved too many addresses to be looked through.
  virtual asio::awaitable<Result<std::vector<std::size_t>>> values_inherited(
      std::vector<std::string>) const = 0;
};

// The seam to the kernel: linux_launcher() in the daemon, FakeLauncher in tests.
class Launcher {
 public:
  virtual ~Launcher() = default;
  // Completes when the program has been exec'ed, isolated from its first instruction on.
  virtual asio::awaitable<Result<std::unique_ptr<Sandbox>>> launch(Spec) = 0;

  // The addresses of IPv4 that this host knows the name by; a number is itself. invalid_argument if
  // there is none, or it is the host's own.
  virtual asio::awaitable<Result<std::vector<Ipv4>>> resolve(std::string name) = 0;
};

struct LauncherOptions {
  std::filesystem::path state_dir;         // Ours alone; remembers what exists, for after a crash.
  std::string oci_runtime = "runc";        // runc, crun or runsc: a name in PATH, or a path.
  std::uint32_t host_uid_first = 300'000;  // Each sandbox gets 65,536 host ids of its own from
  std::uint32_t host_uid_count = 1024;     // here on, reused after it is gone.
  // Whom sandboxes ask for names, private addresses too. Empty: those of this host that are public.
  std::vector<Ipv4> resolvers;
};

// Cleans up everything that an earlier owner of `state_dir` left: processes, cgroups, mounts,
// folders, whatever way it died. Then ready to launch.
Result<std::unique_ptr<Launcher>> linux_launcher(asio::any_io_executor, async::Clock*,
                                                 LauncherOptions);

// What this host can and cannot do for sandboxes, for `dormouse doctor`.
struct Finding {
  enum class Grade : std::uint8_t { good, degraded, missing };
  Grade grade;
  std::string what;  // "cgroup v1: memory, cpu, pids"
  std::string cost;  // What it costs to be without; empty if good.
};
std::vector<Finding> examine_host(const LauncherOptions&);

}  // namespace dormouse::sandbox
