// A stranger's zip, read by the daemon: in a process of its own that can do nothing else
// (sandbox/apart.h), which writes what it finds to a memfd. That is read here, and believed as
// little as the zip itself.
//
// What it writes: for each file a 1, the path (a 32-bit length before it), a 64-bit size and the
// content; for each that is there once more a 4, its path and that of the first; at the end a 2; or
// a 3, the number of a Code and the text of an error.
//
// Threads    unpack_apart() blocks.
// Errors     invalid_argument and too_large name the entry; unavailable: there is no room for it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "control/archive.h"
#include "http/message.h"

namespace dormouse::control {

inline constexpr ArchiveLimits apart_limits{.bytes_max = 250 << 20};

// The files of a zip. The contents are views of one memfd.
class Unpacked {
 public:
  struct File {
    std::string path;
    std::string_view content;
  };
  const std::vector<File>& files() const { return files_; }

  // What unpack_here() wrote.
  static Result<Unpacked> read(http::Body written);

 private:
  explicit Unpacked(http::Body all) : all_(std::move(all)) {}

  http::Body all_;
  std::vector<File> files_;
};

inline constexpr std::string_view unpack_command = "unpack-apart";

// `zip` is a plain file. The process is this program's, which must know unpack_command.
Result<Unpacked> unpack_apart(int zip);

// What `dormouse unpack-apart` does: reads a zip from descriptor 0, having given everything else
// up, and writes to descriptor 1. Gives the exit status.
int unpack_here();

// The same, without giving anything up. For unpack_here() and tests.
void write_unpacked(int zip, int to, const ArchiveLimits&);

}  // namespace dormouse::control
