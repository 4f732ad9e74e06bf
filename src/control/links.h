// Symbolic links among the files of a deploy. None is ever made here: each stands for what it leads
// to, a file or all files of a folder, which must be among the files, too. Pure.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"

namespace dormouse::control {

// Both paths are as check_path() wants them, and nothing is below a link.
struct Link {
  std::string path;
  std::string target;  // As it is written: relative to the folder of `path`.
};

// By the path that each link stands for, or that is below it, the file of `paths` that is to be
// there as well. invalid_argument names the link that leads elsewhere, to nothing, or to itself;
// too_large: more than `most` such files and folders for them.
Result<std::map<std::string, std::string>> followed(const std::vector<Link>& links,
                                                    const std::vector<std::string>& paths,
                                                    std::size_t most);

}  // namespace dormouse::control
