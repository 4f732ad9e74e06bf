#include "leftovers.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

namespace dormouse::oracle {
namespace {

namespace fs = std::filesystem;

// What can be read of it: a process may go while its files are read.
std::string content(const fs::path& file) {
  std::ostringstream out;
  out << std::ifstream(file, std::ios::binary).rdbuf();
  return out.str();
}

std::vector<fs::path> entries_of(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code failed;
  fs::directory_iterator at(folder, failed), end;
  for (; !failed && at != end; at.increment(failed)) entries.push_back(at->path());
  return entries;
}

struct Process {
  std::string parent;
  std::string start;  // Together with the pid it names one process for good.
  std::string name;
};

// The fields after the command's name, which is in brackets and may hold anything.
Process process(const std::string& pid) {
  const std::string stat = content("/proc/" + pid + "/stat");
  const std::size_t open = stat.find('('), close = stat.rfind(')');
  if (close == stat.npos) return {};
  std::istringstream fields(stat.substr(close + 1));
  std::vector<std::string> words;
  for (std::string word; fields >> word;) words.push_back(word);
  if (words.size() < 20) return {};
  return {words[1], words[19], stat.substr(open + 1, close - open - 1)};
}

// This process and those that started it name the mark on their command lines.
std::set<std::string> ancestors() {
  std::set<std::string> pids;
  for (std::string pid = std::to_string(::getpid()); !pid.empty() && pid != "0";) {
    pids.insert(pid);
    pid = process(pid).parent;
  }
  return pids;
}

bool is_number(const std::string& text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

void add_processes(std::set<std::string>& things, const std::string& mark) {
  const auto ours = ancestors();
  for (const fs::path& entry : entries_of("/proc")) {
    const std::string pid = entry.filename().string();
    if (!is_number(pid) || ours.contains(pid)) continue;
    std::error_code failed;
    const std::string named = content(entry / "cmdline") + content(entry / "cgroup") +
                              fs::read_symlink(entry / "exe", failed).string() + " " +
                              fs::read_symlink(entry / "cwd", failed).string();
    if (named.find(mark) == named.npos) continue;
    const Process found = process(pid);
    if (found.name.empty()) continue;
    things.insert("process " + pid + " " + found.start + " " + found.name);
  }
}

void add_cgroups(std::set<std::string>& things, const std::string& mark) {
  std::error_code failed;
  fs::recursive_directory_iterator at("/sys/fs/cgroup",
                                      fs::directory_options::skip_permission_denied, failed);
  for (; !failed && at != fs::recursive_directory_iterator(); at.increment(failed)) {
    const std::string path = at->path().string();
    if (path.find(mark) != path.npos && at->is_directory(failed)) things.insert("cgroup " + path);
  }
}

void add_mounts(std::set<std::string>& things, const std::string& mark) {
  std::ifstream in("/proc/self/mountinfo");
  for (std::string line; std::getline(in, line);) {
    if (line.find(mark) == line.npos) continue;
    std::istringstream words(line);
    std::string word;
    for (int i = 0; i < 5; ++i) words >> word;
    things.insert("mount " + word);
  }
}

void add_named(std::set<std::string>& things, const std::string& kind, const fs::path& folder,
               const std::string& mark) {
  for (const fs::path& entry : entries_of(folder)) {
    const std::string name = entry.filename().string();
    if (mark.empty() || name.find(mark) != name.npos) things.insert(kind + " " + entry.string());
  }
}

void add_fds(std::set<std::string>& things, pid_t pid) {
  for (const fs::path& entry : entries_of("/proc/" + std::to_string(pid) + "/fd")) {
    std::error_code failed;
    const std::string target = fs::read_symlink(entry, failed).string();
    things.insert("fd " + entry.filename().string() + " " + target);
  }
}

}  // namespace

std::set<std::string> things_there(const std::string& mark, pid_t fds_of) {
  std::set<std::string> things;
  add_processes(things, mark);
  add_cgroups(things, mark);
  add_mounts(things, mark);
  add_named(things, "link", "/sys/class/net", "");
  add_named(things, "namespace", "/run/netns", "");
  for (const char* folder : {"/tmp", "/run", "/dev/shm"}) {
    add_named(things, "temporary", folder, mark);
  }
  if (fds_of > 0) add_fds(things, fds_of);
  return things;
}

}  // namespace dormouse::oracle
