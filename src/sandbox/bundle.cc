#include "sandbox/bundle.h"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "sandbox/sandbox.h"
#include "sandbox/seccomp.h"

namespace dormouse::sandbox {
namespace {

namespace json = boost::json;

constexpr std::uint64_t tmp_bytes_per_inode = 4096;

// What the kernel tells about the host rather than about the program.
constexpr const char* masked[] = {"/proc/acpi",          "/proc/asound",      "/proc/bootconfig",
                                  "/proc/config.gz",     "/proc/interrupts",  "/proc/kallsyms",
                                  "/proc/kcore",         "/proc/keys",        "/proc/key-users",
                                  "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi",
                                  "/proc/timer_list",    "/proc/timer_stats", "/proc/vmallocinfo"};
constexpr const char* read_only[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                     "/proc/sysrq-trigger"};

json::array texts(const auto& list) {
  json::array array;
  for (const auto& text : list) array.emplace_back(json::string(text));
  return array;
}

json::object mount_of(std::string_view kind, std::string_view source, std::string_view target,
                      json::array options) {
  return {{"type", kind}, {"source", source}, {"destination", target}, {"options", options}};
}

json::object limit_of(std::string_view name, std::uint64_t most) {
  return {{"type", name}, {"soft", most}, {"hard", most}};
}

json::array rlimits(const Limits& limits) {
  json::array all{limit_of("RLIMIT_NOFILE", limits.open_files_max),
                  limit_of("RLIMIT_CORE", no_core.rlim_max), limit_of("RLIMIT_MSGQUEUE", 0),
                  limit_of("RLIMIT_SIGPENDING", pending_signals_max)};
  if (limits.file_bytes_max != 0) all.push_back(limit_of("RLIMIT_FSIZE", limits.file_bytes_max));
  return all;
}

json::object process(const Spec& spec) {
  json::array kept;
  if (spec.forks) kept = {"CAP_SETUID", "CAP_SETGID", "CAP_SYS_CHROOT"};
  const json::object capabilities = {{"bounding", kept},
                                     {"effective", kept},
                                     {"inheritable", kept},
                                     {"permitted", kept},
                                     {"ambient", kept}};
  return {{"terminal", false},
          {"cwd", "/"},
          {"args", texts(spec.argv)},
          {"env", texts(spec.env)},
          {"user", {{"uid", program_uid}, {"gid", program_uid}}},
          {"capabilities", capabilities},
          {"rlimits", rlimits(spec.limits)},
          {"noNewPrivileges", true},
          // Were the host itself to run out, a sandbox dies before the daemon does.
          {"oomScoreAdj", 500}};
}

json::array mounts(const Spec& spec, const Wall& wall) {
  const std::string size = "size=" + std::to_string(spec.limits.tmp_bytes_max);
  const std::string inodes =
      "nr_inodes=" + std::to_string(16 + spec.limits.tmp_bytes_max / tmp_bytes_per_inode);
  json::array list{
      mount_of("proc", "proc", "/proc", {"nosuid", "noexec", "nodev"}),
      mount_of("tmpfs", "tmpfs", "/dev", {"nosuid", "noexec", "mode=755", "size=64k"}),
      mount_of("tmpfs", "tmpfs", "/dev/shm",
               {"nosuid", "noexec", "nodev", "mode=1777", "size=1m", "nr_inodes=64"}),
      mount_of("tmpfs", "tmpfs", "/tmp",
               {"nosuid", "nodev", "mode=1777", json::string(size), json::string(inodes)}),
      mount_of("none", wall.stage.string(), "/code", {"rbind", "rslave", "ro", "nosuid", "nodev"})};
  for (const Bind& bind : spec.binds) {
    const char* access = bind.writable ? "rw" : "ro";
    list.push_back(mount_of("none", bind.source.string(), bind.target,
                            {"rbind", "rprivate", access, "nosuid", "nodev"}));
  }
  return list;
}

json::object condition(const ArgumentRule& rule) {
  if (rule.test == ArgumentRule::Test::equal) {
    return {{"index", rule.index}, {"value", rule.value}, {"op", "SCMP_CMP_EQ"}};
  }
  return {{"index", rule.index},
          {"value", rule.mask},
          {"valueTwo", rule.value},
          {"op", "SCMP_CMP_MASKED_EQ"}};
}

void allow(json::array& calls, std::span<const AllowedCall> allowed) {
  for (const AllowedCall& call : allowed) {
    json::array args;
    for (const ArgumentRule& rule : {call.rule, call.further[0], call.further[1]}) {
      if (rule.test != ArgumentRule::Test::none) args.push_back(condition(rule));
    }
    json::object line = {{"names", json::array{call.name}}, {"action", "SCMP_ACT_ALLOW"}};
    if (!args.empty()) line["args"] = std::move(args);
    calls.push_back(line);
  }
}

json::object filter(const Spec& spec, bool gvisor) {
  json::array calls;
  allow(calls, allowed_calls());
  if (spec.forks) allow(calls, calls_of_templates());
  if (spec.loopback) allow(calls, calls_of_loopback());
  if (!spec.devices.empty()) allow(calls, calls_of_devices());
  // So that glibc takes clone, whose flags the filter can see. gVisor's filters know no error but
  // EPERM, with which no thread could be started; it has no such call and says so itself.
  constexpr int enosys = 38;
  json::object clone3 = {{"names", {"clone3"}}, {"action", "SCMP_ACT_ERRNO"}, {"errnoRet", enosys}};
  if (gvisor) clone3 = {{"names", {"clone3"}}, {"action", "SCMP_ACT_ALLOW"}};
  calls.push_back(clone3);
#if defined(__aarch64__)
  const char* architecture = "SCMP_ARCH_AARCH64";
#else
  const char* architecture = "SCMP_ARCH_X86_64";
#endif
  return {
      {"defaultAction", "SCMP_ACT_ERRNO"}, {"architectures", {architecture}}, {"syscalls", calls}};
}

// As its owner has it on the host: it is the same node, shown inside.
json::array nodes_of(const std::vector<Device>& devices) {
  json::array nodes;
  for (const Device& device : devices) {
    nodes.push_back({{"path", device.path.string()},
                     {"type", "c"},
                     {"major", device.major},
                     {"minor", device.minor}});
  }
  return nodes;
}

json::array access_to(const std::vector<Device>& devices) {
  json::array rules{{{"allow", false}, {"access", "rwm"}}};
  for (const Device& device : devices) {
    rules.push_back({{"allow", true},
                     {"type", "c"},
                     {"major", device.major},
                     {"minor", device.minor},
                     {"access", "rw"}});
  }
  return rules;
}

json::object kernel(const Spec& spec, const Wall& wall) {
  const json::array range = {
      {{"containerID", 0}, {"hostID", wall.host_uid}, {"size", host_uids_each}}};
  json::array namespaces;
  for (const char* kind : {"user", "mount", "pid", "ipc", "uts", "network", "cgroup"}) {
    namespaces.push_back({{"type", kind}});
  }
  return {{"namespaces", namespaces},
          {"uidMappings", range},
          {"gidMappings", range},
          {"cgroupsPath", wall.cgroup + "/oci"},
          {"devices", nodes_of(wall.devices)},
          {"resources", {{"devices", access_to(wall.devices)}}},
          {"seccomp", filter(spec, wall.gvisor)},
          {"maskedPaths", texts(masked)},
          {"readonlyPaths", texts(read_only)}};
}

}  // namespace

std::string bundle_config(const Spec& spec, const Wall& wall) {
  const json::object config = {
      {"ociVersion", "1.0.2"},
      {"hostname", "sandbox"},
      {"root", {{"path", spec.root.string()}, {"readonly", true}}},
      {"process", process(spec)},
      {"mounts", mounts(spec, wall)},
      {"linux", kernel(spec, wall)},
  };
  return json::serialize(config);
}

}  // namespace dormouse::sandbox
