// The small files through which the kernel and OCI runtimes are spoken to.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.h"

namespace dormouse::sandbox {

// In one write: what cgroup files need. Creates the file with mode 0644. `conflict` if the kernel
// says that it is busy.
Result<> write_text(const std::filesystem::path& path, std::string_view text);

// The whole of it, 64 KiB at most, without the newline at its end.
Result<std::string> read_text(const std::filesystem::path& path);

// The same from an open descriptor, from its beginning: for a file that is read often.
Result<std::string> read_again(int descriptor);

}  // namespace dormouse::sandbox
