// What a process has mapped, from /proc. It is of the process's making. Only this module's files
// include it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dormouse::sandbox {

struct Mapping {
  std::uintptr_t begin, end;
  std::string access;  // "r-xp".
  bool is_of_file;     // Of one that has an inode.
  std::string file;    // Its name without folders; "[stack]", or none.
};

// In order, the first `most`; none of a process that has ended. `process`: "/proc/7".
std::vector<Mapping> mappings_of(const std::string& process, std::size_t most);

}  // namespace dormouse::sandbox
