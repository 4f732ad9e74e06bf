// The OCI bundle's config.json: the whole wall in one place. Pure: values in, text out.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "sandbox/devices.h"
#include "sandbox/sandbox.h"

namespace dormouse::sandbox {

inline constexpr std::uint32_t host_uids_each = 65'536;
inline constexpr std::uint32_t program_uid = 1000;  // Inside; gid too.

struct Wall {
  std::filesystem::path stage;  // Shown at /code.
  std::string cgroup;           // "/dormouse-1f3a/1f3a-7": the OCI runtime makes "oci" below it.
  std::uint32_t host_uid;       // The first of host_uids_each.
  bool gvisor = false;          // The OCI runtime is runsc.
  std::vector<Device> devices;  // Those of the Spec.
};

std::string bundle_config(const Spec&, const Wall&);

}  // namespace dormouse::sandbox
