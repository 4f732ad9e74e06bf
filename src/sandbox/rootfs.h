// Checks a root file system before any OCI runtime sees it, and reveals code in a running sandbox.
//
// Some OCI runtimes follow a link at /dev out of the root and write on the host (crun 1.8.1 does).
// So everything that is mounted on is opened here first, beneath the root, following no links.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"
#include "sandbox/sandbox.h"

namespace dormouse::sandbox {

// invalid_argument if `root` cannot be the root of a sandbox: /dev, /proc or /sys is not a real
// folder, a folder above it is closed to others (the program's user must pass), a bind's target is
// no plain absolute path or its source does not exist. Makes the targets that the root lacks.
// `forks`: it needs a /slots as well.
Result<> check_root(const std::filesystem::path& root, const std::vector<Bind>& binds, bool forks);

// A writable bind's source belongs to the program's user for as long as the sandbox lives.
Result<> give_to(const std::vector<Bind>& binds, std::uint32_t uid);

// Makes `folder` a mount point whose later mounts appear in the sandbox, and nowhere else.
Result<> make_stage(const std::filesystem::path& folder);

// Mounts `tree` and all that is mounted in it on `folder`, read-only, in one step.
Result<> show_on_stage(const std::filesystem::path& tree, const std::filesystem::path& folder);

// Unmounts all that is mounted on `folder`.
void clear_stage(const std::filesystem::path& folder);

}  // namespace dormouse::sandbox
