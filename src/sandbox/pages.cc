#include "sandbox/pages.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <string>
#include <string_view>

#include "sandbox/files.h"

namespace dormouse::sandbox {
namespace {

namespace fs = std::filesystem;

// "Anonymous:  1234 kB" on a line of its own; 0 if there is none.
std::uint64_t bytes_in(std::string_view text, std::string_view field) {
  const std::size_t at = text.find("\n" + std::string(field) + ":");
  if (at == text.npos) return 0;
  const std::size_t first = text.find_first_of("0123456789", at);
  std::uint64_t kibibytes = 0;
  if (first != text.npos)
    std::from_chars(text.data() + first, text.data() + text.size(), kibibytes);
  return kibibytes << 10;
}

// /dev/null, zero, full, random and urandom: of the memory devices those that nobody can use to
// tell another anything.
bool is_stateless(dev_t device) {
  constexpr unsigned memory_devices = 1;
  constexpr unsigned minors[] = {3, 5, 7, 8, 9};
  return major(device) == memory_devices && std::ranges::count(minors, minor(device)) > 0;
}

}  // namespace

Pages pages_of(const std::vector<pid_t>& processes) {
  Pages all;
  for (const pid_t pid : processes) {
    const std::string folder = "/proc/" + std::to_string(pid);
    const auto memory = read_text(folder + "/smaps_rollup");
    const auto status = read_text(folder + "/status");
    if (!memory || !status) continue;
    all.anonymous += bytes_in(*memory, "Anonymous");
    all.huge += bytes_in(*memory, "AnonHugePages");
    all.own += bytes_in(*memory, "Private_Dirty") + bytes_in(*status, "VmPTE");
  }
  return all;
}

std::vector<OpenFile> open_files_of(pid_t pid) {
  std::vector<OpenFile> found;
  std::error_code failure;
  for (const auto& each : fs::directory_iterator("/proc/" + std::to_string(pid) + "/fd", failure)) {
    struct stat status{};
    if (stat(each.path().c_str(), &status) != 0) continue;
    if (S_ISCHR(status.st_mode) && is_stateless(status.st_rdev)) continue;
    found.push_back({status.st_ino, fs::read_symlink(each.path(), failure).string()});
  }
  return found;
}

}  // namespace dormouse::sandbox
