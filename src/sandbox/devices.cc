#include "sandbox/devices.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cctype>
#include <string>

namespace dormouse::sandbox {
namespace {

namespace fs = std::filesystem;

bool is_card(std::string_view name) {
  constexpr std::string_view prefix = "nvidia";
  if (!name.starts_with(prefix) || name == prefix) return false;
  return std::ranges::all_of(name.substr(prefix.size()),
                             [](unsigned char letter) { return std::isdigit(letter) != 0; });
}

}  // namespace

Result<std::vector<Device>> look_up(const std::vector<fs::path>& paths) {
  std::vector<Device> devices;
  for (const fs::path& path : paths) {
    struct stat status{};
    const bool is_in_dev = path.parent_path() == "/dev" && path.lexically_normal() == path;
    if (!is_in_dev || lstat(path.c_str(), &status) != 0 || !S_ISCHR(status.st_mode)) {
      return Error{Code::invalid_argument,
                   "device " + path.string() + " is no character device directly in /dev"};
    }
    devices.push_back({path, major(status.st_rdev), minor(status.st_rdev)});
  }
  return devices;
}

NvidiaDevices nvidia_devices(const fs::path& folder) {
  NvidiaDevices found;
  std::error_code failure;
  for (const auto& entry : fs::directory_iterator(folder, failure)) {
    const std::string name = entry.path().filename();
    const bool is_uvm = name == "nvidia-uvm";
    if (is_card(name)) found.cards.push_back(entry.path());
    if (is_card(name) || is_uvm || name == "nvidiactl") found.all.push_back(entry.path());
    found.has_unified_memory = found.has_unified_memory || is_uvm;
  }
  std::ranges::sort(found.cards);
  std::ranges::sort(found.all);
  return found;
}

}  // namespace dormouse::sandbox
