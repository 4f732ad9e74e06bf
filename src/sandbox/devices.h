// Devices of the host that a sandbox may use.
//
// Whoever is given one speaks with the kernel's driver for it, and the filter of system calls lets
// that through for NVIDIA's only (seccomp.h): others can be opened, read, written and mapped.
#pragma once

#include <filesystem>
#include <vector>

#include "base/result.h"

namespace dormouse::sandbox {

struct Device {
  std::filesystem::path path;  // On the host, and inside.
  unsigned major = 0, minor = 0;
};

// invalid_argument: one is no character device directly in /dev.
Result<std::vector<Device>> look_up(const std::vector<std::filesystem::path>&);

// What NVIDIA's driver has made in `folder`: the cards, each "nvidia0" and on, and what is needed
// to compute on them.
struct NvidiaDevices {
  std::vector<std::filesystem::path> cards;
  bool has_unified_memory = false;  // nvidia-uvm, without which CUDA does not start.

  std::vector<std::filesystem::path> all;  // Whatever of it is there.
};
NvidiaDevices nvidia_devices(const std::filesystem::path& folder = "/dev");

}  // namespace dormouse::sandbox
