#include "sandbox/mappings.h"

#include <fstream>
#include <sstream>

namespace dormouse::sandbox {

// As in proc(5): "7f00-7f10 r-xp 00000000 08:01 123   /usr/lib/libc.so.6".
std::vector<Mapping> mappings_of(const std::string& process, std::size_t most) {
  std::vector<Mapping> found;
  std::ifstream maps(process + "/maps");
  for (std::string line; found.size() < most && std::getline(maps, line);) {
    std::istringstream fields(line);
    Mapping each{};
    char dash = 0;
    std::string offset, device, inode, path;
    fields >> std::hex >> each.begin >> dash >> each.end >> each.access >> offset >> device >>
        inode;
    std::getline(fields >> std::ws, path);
    each.is_of_file = inode != "0";
    each.file = path.substr(path.rfind('/') + 1);
    found.push_back(std::move(each));
  }
  return found;
}

}  // namespace dormouse::sandbox
