// What a launcher has on this host: its state folder, its place among the control groups, and how
// to take away whatever is there, in a living daemon as after a crash.
//
//   <state_dir>/id                     names our cgroups: /dormouse-<id>/<sandbox>
//   <state_dir>/lock                   held by the one daemon that owns the folder
//   <state_dir>/oci/                   the OCI runtime's own state
//   <state_dir>/sandboxes/<sandbox>/   config.json, pid, code/ (the stage where trees are revealed)
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"
#include "sandbox/cgroup.h"
#include "sandbox/sandbox.h"
#include "wire/socket.h"

namespace dormouse::sandbox {

enum class RuntimeKind : std::uint8_t { runc, crun, runsc };

struct Estate {
  std::filesystem::path state_dir;
  std::string id;
  Hierarchies hierarchies;
  std::string runtime;  // The OCI runtime's path.
  RuntimeKind kind = RuntimeKind::runc;
  wire::Descriptor lock;
  wire::Descriptor name;  // "dormouse-<id>", of all on this host.

  std::filesystem::path folder(const std::string& sandbox) const;
  std::filesystem::path stage(const std::string& sandbox) const { return folder(sandbox) / "code"; }
  std::filesystem::path oci_root() const { return state_dir / "oci"; }
  std::string cgroup(const std::string& sandbox) const { return "dormouse-" + id + "/" + sandbox; }
};

// Makes or finds the folder; waits a moment for a daemon that is just dying. `conflict` if one
// lives.
Result<Estate> open_estate(const LauncherOptions&);

// Kills what runs in it and takes away processes, cgroups, mounts and folders of one sandbox,
// however much of it there is. Blocks. `left_to_us` are children that may need reaping.
Result<> remove_sandbox(const Estate&, const std::string& sandbox, std::vector<pid_t> left_to_us);

// The same for every sandbox that an earlier owner left.
Result<> remove_every_sandbox(const Estate&);

// The control group above the sandboxes', once there are none.
void remove_common_group(const Estate&);

}  // namespace dormouse::sandbox
