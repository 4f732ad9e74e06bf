#include "sandbox/launch.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "sandbox/bundle.h"
#include "sandbox/files.h"
#include "sandbox/rootfs.h"
#include "sandbox/router.h"

namespace dormouse::sandbox {
namespace {

namespace fs = std::filesystem;
using wire::Descriptor;

constexpr Duration start_max = std::chrono::seconds(20);
constexpr std::uint64_t memory_bytes_min = 4 << 20;

// The OCI runtime makes the sandbox from within its groups, and needs this much. The program's own
// limits are set before it is started.
Limits while_starting(Limits limits, RuntimeKind kind) {
  const std::uint64_t memory = kind == RuntimeKind::runsc ? 256 << 20 : 64 << 20;
  limits.memory_bytes_max = std::max(limits.memory_bytes_max, memory);
  limits.cpu_millicores_max = std::max(limits.cpu_millicores_max, 2000U);
  limits.processes_max = std::max(limits.processes_max, 128U);
  return on_the_host(limits, kind);
}

Command runtime_command(const Estate& estate, const Ends& ends) {
  Command command;
  command.program = estate.runtime;
  command.argv = {estate.runtime, "--root", estate.oci_root()};
  if (estate.kind == RuntimeKind::runsc) {
    for (const char* flag : {"--platform=ptrace", "--ignore-cgroups", "--network=none",
                             "--oci-seccomp", "--file-access=shared"}) {
      command.argv.emplace_back(flag);
    }
  }
  command.output = ends.inner_output.number();
  return command;
}

// Makes everything but the program: its first process waits to be told.
Command create_command(const Estate& estate, const std::string& sandbox, const Cgroup& group,
                       const Ends& ends) {
  const fs::path folder = estate.folder(sandbox);
  Command command = runtime_command(estate, ends);
  for (const std::string& word : {std::string("create"), std::string("--bundle"), folder.string(),
                                  std::string("--pid-file"), (folder / "pid").string()}) {
    command.argv.push_back(word);
  }
  // gVisor of 2022 passes nothing but the three standard descriptors.
  if (estate.kind == RuntimeKind::runsc) {
    command.input = ends.inner_socket.number();
  } else {
    for (const char* word : {"--preserve-fds", "1"}) command.argv.emplace_back(word);
    command.socket = ends.inner_socket.number();
  }
  command.argv.push_back(sandbox);
  for (const Descriptor& entrance : group.entrances()) {
    command.entrances.push_back(entrance.number());
  }
  return command;
}

// runc and crun leave the first process waiting until somebody reads from this pipe, which is all
// that their `start` does; a program that does only that would cost as much as making the sandbox.
// The writing end closes on exec, so its end of file says that the program runs.
Result<bool> start_by_pipe(const Estate& estate, const std::string& sandbox,
                           const Process& process) {
  const fs::path path = estate.oci_root() / sandbox / "exec.fifo";
  const Descriptor pipe(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC));
  if (!pipe) return false;
  const auto milli = std::chrono::duration_cast<std::chrono::milliseconds>(start_max).count();
  for (bool told = false;;) {
    pollfd ready[] = {{pipe.number(), POLLIN, 0}, {process.handle.number(), POLLIN, 0}};
    if (poll(ready, 2, static_cast<int>(milli)) < 0 && errno == EINTR) continue;
    char byte;
    const ssize_t size = ready[0].revents != 0 ? read(pipe.number(), &byte, 1) : -1;
    if (size == 0 && told) break;
    if (size != 1) return Error{Code::unavailable, "the OCI runtime did not start the program"};
    told = true;
  }
  unlink(path.c_str());
  return true;
}

// Outside the groups, whose limits are the program's by then.
Command start_command(const Estate& estate, const std::string& sandbox, const Ends& ends) {
  Command command = runtime_command(estate, ends);
  command.argv.emplace_back("start");
  command.argv.push_back(sandbox);
  return command;
}

// What the OCI runtime said before it gave up: the end of the output.
Error runtime_failed(const Ends& ends, const Status& status) {
  char text[2048];
  std::string said;
  for (ssize_t size; (size = read(ends.output.number(), text, sizeof(text))) > 0;) {
    said.append(text, static_cast<std::size_t>(size));
    if (said.size() > sizeof(text)) said.erase(0, said.size() - sizeof(text));
  }
  while (said.ends_with('\n')) said.pop_back();
  if (said.empty()) {
    said = (status.signalled ? "signal " : "exit status ") + std::to_string(status.number);
  }
  return {Code::unavailable, "the OCI runtime failed: " + said};
}

Result<> run_runtime(const Command& command, const Ends& ends) {
  auto runtime = spawn(command);
  if (!runtime) return runtime.error();
  auto ended = wait_for(*runtime, start_max);
  if (!ended) {
    kill_process(*runtime);
    wait_for(*runtime, start_max);
    return Error{Code::unavailable, "the OCI runtime did not come to an end"};
  }
  if (ended->signalled || ended->number != 0) return runtime_failed(ends, *ended);
  return ok;
}

Result<> start_program(const Estate& estate, const std::string& sandbox, const Process& process,
                       const Ends& ends) {
  const auto piped = start_by_pipe(estate, sandbox, process);
  if (!piped) return piped.error();
  return *piped ? ok : run_runtime(start_command(estate, sandbox, ends), ends);
}

// The OCI runtime cannot give more than it was given itself.
std::uint64_t our_open_files_max() {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  return files.rlim_max;
}

// Written again when the sandbox gets a network.
Result<> add_network_files(const fs::path& folder, Spec& spec) {
  const std::vector<Bind> files{{folder / hosts_file, "/etc/hosts"},
                                {folder / resolv_file, "/etc/resolv.conf"}};
  Result<> done = write_text(files[0].source, hosts_text({}));
  if (done) done = write_text(files[1].source, "");
  if (done) done = check_root(spec.root, files, false);
  spec.binds.insert(spec.binds.end(), files.begin(), files.end());
  return done;
}

bool may_get_a_network(const Estate& estate, const Spec& spec) {
  return spec.loopback && estate.kind != RuntimeKind::runsc;
}

Result<> prepare(const Estate& estate, const std::string& sandbox, const Spec& spec,
                 std::uint32_t host_uid) {
  for (const fs::path& folder : {estate.folder(sandbox), estate.stage(sandbox)}) {
    if (mkdir(folder.c_str(), 0755) != 0) {
      return system_error(Code::unavailable, "mkdir " + folder.string());
    }
  }
  // The sandbox's root user, as which gVisor serves its files, passes through; nobody else does.
  const fs::path own = estate.folder(sandbox);
  if (chown(own.c_str(), 0, host_uid) != 0 || chmod(own.c_str(), 0710) != 0) {
    return system_error(Code::unavailable, "closing " + own.string() + " to others");
  }
  if (auto staged = make_stage(estate.stage(sandbox)); !staged) return staged;
  if (auto given = give_to(spec.binds, host_uid + program_uid); !given) return given;
  const bool gvisor = estate.kind == RuntimeKind::runsc;
  if (gvisor && !spec.devices.empty()) {
    return Error{Code::unsupported, "under runsc no sandbox can have a device"};
  }
  auto devices = look_up(spec.devices);
  if (!devices) return devices.error();
  const Wall wall{estate.stage(sandbox), "/" + estate.cgroup(sandbox), host_uid, gvisor,
                  std::move(*devices)};
  Spec inside = spec;
  inside.forks = spec.forks && !gvisor;
  if (gvisor) inside.env.emplace_back("DORMOUSE_SOCKET=0");
  if (may_get_a_network(estate, spec)) {
    auto added = add_network_files(estate.folder(sandbox), inside);
    if (!added) return added;
  }
  inside.limits.open_files_max = std::min(inside.limits.open_files_max, our_open_files_max());
  return write_text(estate.folder(sandbox) / "config.json", bundle_config(inside, wall));
}

Result<Launched> launch_in(const Estate& estate, const std::string& sandbox, const Spec& spec,
                           std::uint32_t host_uid) {
  if (auto prepared = prepare(estate, sandbox, spec, host_uid); !prepared) return prepared.error();
  auto group = Cgroup::make(&estate.hierarchies, estate.cgroup(sandbox));
  if (!group) return group.error();
  if (auto set = (*group)->limit(while_starting(spec.limits, estate.kind)); !set) {
    return set.error();
  }
  auto ends = make_ends();
  if (!ends) return ends.error();
  const Command create = create_command(estate, sandbox, **group, *ends);
  if (auto created = run_runtime(create, *ends); !created) return created.error();
  (*group)->close_entrances();

  const auto pid = read_text(estate.folder(sandbox) / "pid");
  if (!pid) return pid.error();
  auto process = adopt(std::atoi(pid->c_str()));
  if (!process) return process.error();
  if (auto set = (*group)->limit(on_the_host(spec.limits, estate.kind)); !set) {
    if (set.error().code != Code::conflict) return set.error();
    return Error{Code::invalid_argument, "the memory limit is less than the OCI runtime holds"};
  }
  Launched launched;
  launched.process = std::move(*process);
  launched.cpu_spent_starting = (*group)->usage().cpu_time;
  (*group)->reset_peak();
  if (auto started = start_program(estate, sandbox, launched.process, *ends); !started)
    return started.error();
  if (estate.kind == RuntimeKind::runsc) {
    launched.companions = processes_of(estate.hierarchies, estate.cgroup(sandbox));
  }
  launched.group = std::move(*group);
  launched.limits = spec.limits;
  launched.forks = spec.forks && estate.kind != RuntimeKind::runsc;
  launched.has_network_files = may_get_a_network(estate, spec);
  launched.socket = std::move(ends->socket);
  launched.output = std::move(ends->output);
  return launched;
}

}  // namespace

// gVisor's kernel has some twenty threads of its own, and for each process inside several of the
// host's, one for each thread of the kernel that has run it. Out of them it panics.
Limits on_the_host(Limits limits, RuntimeKind kind) {
  if (kind == RuntimeKind::runsc) limits.processes_max = 128 + 8 * limits.processes_max;
  return limits;
}

Result<Ends> make_ends() {
  Ends ends;
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
    return system_error(Code::unavailable, "socketpair");
  }
  ends.socket = Descriptor(pair[0]);
  ends.inner_socket = Descriptor(pair[1]);
  if (pipe2(pair, O_CLOEXEC) != 0) return system_error(Code::unavailable, "pipe");
  ends.output = Descriptor(pair[0]);
  ends.inner_output = Descriptor(pair[1]);
  fcntl(ends.socket.number(), F_SETFL, O_NONBLOCK);
  fcntl(ends.output.number(), F_SETFL, O_NONBLOCK);
  return ends;
}

Result<Launched> launch_program(const Estate& estate, const std::string& sandbox, const Spec& spec,
                                std::uint32_t host_uid) {
  if (spec.argv.empty()) return Error{Code::invalid_argument, "nothing to run"};
  if (spec.limits.memory_bytes_max < memory_bytes_min || spec.limits.cpu_millicores_max == 0 ||
      spec.limits.processes_max == 0) {
    return Error{Code::invalid_argument, "a limit is too small"};
  }
  if (auto checked = check_root(spec.root, spec.binds, spec.forks); !checked)
    return checked.error();
  auto launched = launch_in(estate, sandbox, spec, host_uid);
  if (!launched) (void)remove_sandbox(estate, sandbox, {});
  return launched;
}

}  // namespace dormouse::sandbox
