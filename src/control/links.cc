#include "control/links.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "base/ascii.h"
#include "control/paths.h"

namespace dormouse::control {
namespace {

constexpr int turns_max = 40;  // As many links, one behind the other, as Linux follows.

// From each path, the file of which the content is.
using Files = std::map<std::string, std::string>;

Error wrong(const std::string& path, const std::string& target, const std::string& why) {
  Error error{Code::invalid_argument,
              "is a symbolic link to " + in_quotes(target) + ", which " + why};
  return std::move(error).during(in_quotes(path));
}

std::string folder_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == path.npos ? "" : path.substr(0, slash);
}

// From the top; nullopt if it leads out, or up again from a folder that may be a link itself.
std::optional<std::string> place_of(const Link& link) {
  std::string place = folder_of(link.path);
  if (link.target.empty() || link.target.front() == '/') return std::nullopt;
  bool has_gone_down = false;
  for (const std::string_view part : split(link.target, '/')) {
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      if (has_gone_down || place.empty()) return std::nullopt;
      place = folder_of(place);
      continue;
    }
    has_gone_down = true;
    place.append(place.empty() ? "" : "/").append(part);
  }
  return place;
}

template <class Value>
auto first_below(const std::map<std::string, Value>& all, const std::string& folder) {
  const auto at = all.lower_bound(folder.empty() ? "" : folder + "/");
  const bool is_below = at != all.end() && (folder.empty() || at->first.starts_with(folder + "/"));
  return is_below ? at : all.end();
}

// What `link` stands for, if that is known by now.
Files reached(const std::string& link, const std::string& place, const Files& files) {
  if (const auto file = files.find(place); file != files.end()) return {{link, file->second}};
  Files there;
  for (auto at = first_below(files, place); at != files.end() && at->first.starts_with(place + "/");
       ++at) {
    there[link + at->first.substr(place.size())] = at->second;
  }
  return there;
}

Error leads_out(const Link& link) {
  return wrong(
      link.path, link.target,
      "is not followed: it may go up only at its beginning, and not out of what is deployed");
}

Error leads_nowhere(const std::string& path, const std::string& place) {
  return wrong(path, place,
               "is not deployed with it, leads back to it, or through more than 40 others");
}

class Following {
 public:
  explicit Following(const std::vector<std::string>& paths) {
    for (const std::string& path : paths) files_[path] = path;
  }

  // Follows those of `open` that lead to what was known before, until there are more than `most`
  // copies. false: none does.
  bool advance(std::map<std::string, std::string>& open, std::size_t most) {
    Files found;
    std::vector<std::string> done;
    for (const auto& [link, place] : open) {
      if (copies_.size() + found.size() > most) break;
      if (first_below(open, place) != open.end()) continue;
      const Files there = reached(link, place, files_);
      found.insert(there.begin(), there.end());
      if (!there.empty()) done.push_back(link);
    }
    for (const std::string& link : done) open.erase(link);
    copies_.insert(found.begin(), found.end());
    files_.insert(found.begin(), found.end());
    return !done.empty();
  }

  const Files& copies() const { return copies_; }

 private:
  Files files_, copies_;
};

// The folders that they need count, too.
Result<> check_copies(const Files& copies, std::size_t most) {
  std::set<std::string> places;
  for (const auto& [path, _] : copies) {
    if (auto good = check_path(path); !good) return good;
    for (std::string place = path; !place.empty(); place = folder_of(place)) {
      if (!places.insert(place).second) break;
    }
  }
  if (places.size() <= most) return ok;
  return Error{Code::too_large, "too many files, with those that symbolic links stand for"};
}

}  // namespace

Result<std::map<std::string, std::string>> followed(const std::vector<Link>& links,
                                                    const std::vector<std::string>& paths,
                                                    std::size_t most) {
  std::map<std::string, std::string> open;  // Where each link leads that is not yet followed.
  for (const Link& link : links) {
    const auto place = place_of(link);
    if (!place) return leads_out(link);
    open[link.path] = *place;
  }
  Following following(paths);
  for (int turn = 0; turn < turns_max && following.advance(open, most); ++turn) {
    if (auto good = check_copies(following.copies(), most); !good) return good.error();
  }
  if (open.empty()) return following.copies();
  return leads_nowhere(open.begin()->first, open.begin()->second);
}

}  // namespace dormouse::control
