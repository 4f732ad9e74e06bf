// The directory at a zip's end, as it is written there. A library that unpacks smooths some of it
// over, such as a pipe that becomes a plain file or a name that ends at a NUL: whoever wants to
// refuse that must look here first.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace dormouse::control {

struct ZipListing {
  std::string name;        // Any bytes. Ends with "/" if it is a folder.
  std::uint32_t mode = 0;  // As of ::stat, or 0 if it was not made on a Unix.
};

// `zip` is an open file. invalid_argument if it is not a zip; too_large if it needs zip64, or lists
// more than 64 MiB.
Result<std::vector<ZipListing>> read_zip_directory(int zip);

}  // namespace dormouse::control
