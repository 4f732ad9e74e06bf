#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <map>
#include <set>

#include "sandbox/estate.h"
#include "sandbox/files.h"
#include "sandbox/lock.h"
#include "sandbox/rootfs.h"
#include "sandbox/spawn.h"

namespace dormouse::sandbox {
namespace {

namespace fs = std::filesystem;

Result<> need_folder(const fs::path& path) {
  // Open to others: the mapped root user of a sandbox passes through on its way to the stage.
  if (mkdir(path.c_str(), 0711) != 0 && errno != EEXIST) {
    return system_error(Code::unavailable, "mkdir " + path.string());
  }
  return ok;
}

Result<std::string> make_id(const fs::path& path) {
  unsigned char random[5];
  if (getrandom(random, sizeof(random), 0) != sizeof(random)) {
    return system_error(Code::unavailable, "getrandom");
  }
  std::string id;
  for (const unsigned char byte : random) {
    id += "0123456789abcdef"[byte >> 4];
    id += "0123456789abcdef"[byte & 15];
  }
  if (auto written = write_text(path, id); !written) return written.error();
  return id;
}

// What is on this host by the id that the folder has, is this daemon's alone. Of a folder that was
// copied the other one may live, and keeps the id; then this one takes another.
Result<> find_id(const fs::path& path, Estate& estate) {
  const auto known = read_text(path);
  auto id = known && !known->empty() ? *known : make_id(path);
  if (!id) return id.error();
  auto name = take_name("dormouse-" + *id);
  if (!name && name.error().code == Code::conflict) {
    id = make_id(path);
    if (!id) return id.error();
    name = take_name("dormouse-" + *id);
  }
  if (!name) return name.error();
  estate.id = *std::move(id);
  estate.name = *std::move(name);
  return ok;
}

// Only what lies flat in it, so that a mount that would not go is never emptied.
void remove_flat_folder(const fs::path& folder) {
  std::error_code failed;
  for (fs::directory_iterator at(folder, failed), end; !failed && at != end; at.increment(failed)) {
    unlink(at->path().c_str());
  }
  rmdir(folder.c_str());
}

void add_names_in(const fs::path& folder, std::set<std::string>& names) {
  std::error_code failed;
  for (fs::directory_iterator at(folder, failed), end; !failed && at != end; at.increment(failed)) {
    const std::string name = at->path().filename();
    names.insert(name.substr(0, name.find('_')));
  }
}

// runc and crun have a folder of the sandbox's name, runsc files called "<name>_sandbox:…".
void remove_oci_state(const fs::path& root, const std::string& sandbox) {
  std::error_code failed;
  for (fs::directory_iterator at(root, failed), end; !failed && at != end; at.increment(failed)) {
    const std::string name = at->path().filename();
    if (name.starts_with(sandbox + "_")) unlink(at->path().c_str());
  }
  remove_flat_folder(root / sandbox);
}

}  // namespace

fs::path Estate::folder(const std::string& sandbox) const {
  return state_dir / "sandboxes" / sandbox;
}

Result<Estate> open_estate(const LauncherOptions& options) {
  Estate estate;
  estate.state_dir = fs::absolute(options.state_dir).lexically_normal();
  for (const fs::path& folder :
       {estate.state_dir, estate.state_dir / "sandboxes", estate.state_dir / "oci"}) {
    if (auto made = need_folder(folder); !made) return made.error();
  }
  auto lock = take_lock(estate.state_dir / "lock");
  if (!lock) return lock.error();
  estate.lock = std::move(*lock);
  if (auto found = find_id(estate.state_dir / "id", estate); !found) return found.error();
  auto hierarchies = find_hierarchies();
  if (!hierarchies) return hierarchies.error();
  estate.hierarchies = std::move(*hierarchies);
  auto runtime = find_program(options.oci_runtime);
  if (!runtime) return runtime.error();
  estate.runtime = *runtime;
  const std::string name = fs::path(*runtime).filename();
  if (name.starts_with("crun")) estate.kind = RuntimeKind::crun;
  if (name.starts_with("runsc")) estate.kind = RuntimeKind::runsc;
  return estate;
}

// `runc delete` would start a program to remove one folder; everything else of a sandbox is ours.
Result<> remove_sandbox(const Estate& estate, const std::string& sandbox,
                        std::vector<pid_t> left_to_us) {
  const std::string group = estate.cgroup(sandbox);
  auto killed = kill_group(estate.hierarchies, group, dying_max);
  if (killed) left_to_us.insert(left_to_us.end(), killed->begin(), killed->end());
  reap_orphans(left_to_us);
  clear_stage(estate.stage(sandbox));
  Result<> removed = killed ? remove_group(estate.hierarchies, group, dying_max) : killed.error();
  // gVisor has a process of the host for each one inside. They are left to us as it dies, and
  // cgroup v2 does not list the dead.
  if (estate.kind == RuntimeKind::runsc) reap_orphans(children_in(group));
  remove_oci_state(estate.oci_root(), sandbox);
  rmdir(estate.stage(sandbox).c_str());
  remove_flat_folder(estate.folder(sandbox));
  return removed;
}

Result<> remove_every_sandbox(const Estate& estate) {
  std::set<std::string> names;
  add_names_in(estate.state_dir / "sandboxes", names);
  add_names_in(estate.oci_root(), names);
  const std::string above = "dormouse-" + estate.id;
  for (const std::string& name : groups_below(estate.hierarchies, above)) names.insert(name);
  // All at once, so that each has died by the time it is waited for.
  std::map<std::string, std::vector<pid_t>> killed;
  for (const std::string& name : names) {
    killed[name] = processes_of(estate.hierarchies, estate.cgroup(name));
    for (const pid_t pid : killed[name]) kill(pid, SIGKILL);
  }
  Result<> all = ok;
  for (const std::string& name : names) {
    if (auto removed = remove_sandbox(estate, name, killed[name]); !removed) all = removed;
  }
  remove_common_group(estate);
  return all;
}

void remove_common_group(const Estate& estate) {
  for (const fs::path& folder : estate.hierarchies.folders("dormouse-" + estate.id)) {
    rmdir(folder.c_str());
  }
}

}  // namespace dormouse::sandbox
