#include "sandbox/threads.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>
#include <set>
#include <sstream>
#include <string_view>

#include "sandbox/files.h"
#include "sandbox/mappings.h"
#include "wire/socket.h"

namespace dormouse::sandbox {
namespace {

namespace fs = std::filesystem;

const Mapping* mapping_at(const std::vector<Mapping>& mappings, std::uintptr_t address) {
  const auto above = std::ranges::upper_bound(mappings, address, {}, &Mapping::end);
  return above != mappings.end() && above->begin <= address ? &*above : nullptr;
}

// What every thread goes through, whoever wants it.
bool is_common(std::string_view file) {
  constexpr std::string_view beginnings[] = {"libc.so",   "libc-",    "ld-",   "libpthread",
                                             "libstdc++", "libgcc_s", "[vdso]"};
  return std::ranges::any_of(beginnings, [&](auto each) { return file.starts_with(each); });
}

struct Registers {
  std::uintptr_t stack, program;
};

// As in proc(5), of a thread that waits: the call, its arguments, and these two; "running".
std::optional<Registers> registers_of(const std::string& task) {
  const auto text = read_text(task + "/syscall");
  if (!text) return std::nullopt;
  std::istringstream fields(*text);
  std::vector<std::string> all;
  for (std::string each; fields >> each;) all.push_back(each);
  if (all.size() < 3) return std::nullopt;
  Registers found{};
  const auto number = [](std::string_view hex, std::uintptr_t* to) {
    if (hex.starts_with("0x")) hex.remove_prefix(2);
    return std::from_chars(hex.data(), hex.data() + hex.size(), *to, 16).ec == std::errc();
  };
  if (!number(all[all.size() - 2], &found.stack) || !number(all.back(), &found.program)) {
    return std::nullopt;
  }
  return found;
}

// From the end of the innermost call on: what is returned to lies there, among other things.
std::vector<std::uintptr_t> stack_of(const std::string& process, const Mapping& in,
                                     std::uintptr_t from) {
  constexpr std::size_t bytes_max = 64 << 10;
  std::vector<std::uintptr_t> words(std::min<std::size_t>(bytes_max, in.end - from) /
                                    sizeof(std::uintptr_t));
  const wire::Descriptor memory(open((process + "/mem").c_str(), O_RDONLY | O_CLOEXEC));
  const ssize_t got = pread(memory.number(), words.data(), words.size() * sizeof words[0],
                            static_cast<off_t>(from));
  words.resize(got > 0 ? static_cast<std::size_t>(got) / sizeof words[0] : 0);
  return words;
}

std::string library_of(const std::string& process, const std::string& task,
                       const std::vector<Mapping>& mappings) {
  const auto at = registers_of(task);
  if (!at) return "";
  std::string common;
  const auto code_at = [&](std::uintptr_t address) -> const Mapping* {
    const Mapping* const found = mapping_at(mappings, address);
    if (found == nullptr || !found->access.contains('x') || found->file.empty()) return nullptr;
    if (!is_common(found->file)) return found;
    if (common.empty()) common = found->file;
    return nullptr;
  };
  if (const Mapping* const code = code_at(at->program)) return code->file;
  const Mapping* const stack = mapping_at(mappings, at->stack & ~std::uintptr_t{7});
  if (stack == nullptr) return common;
  for (const std::uintptr_t word : stack_of(process, *stack, at->stack & ~std::uintptr_t{7})) {
    if (const Mapping* const code = code_at(word)) return code->file;
  }
  return common;
}

// Names are the function's own: they must not write on terminals.
std::string printable(std::string text) {
  std::ranges::replace_if(text, [](unsigned char each) { return each < ' ' || each == 0x7F; }, '?');
  return text;
}

}  // namespace

std::vector<std::string> threads_of(pid_t pid) {
  constexpr std::size_t named_max = 4;
  constexpr std::size_t mappings_max = 8192;
  const std::string process = "/proc/" + std::to_string(pid);
  std::vector<std::string> found;
  std::vector<Mapping> mappings;
  std::error_code failure;
  for (const auto& each : fs::directory_iterator(process + "/task", failure)) {
    const auto name = read_text(each.path() / "comm");
    if (each.path().filename() == std::to_string(pid) || !name) continue;
    if (found.size() == named_max) {
      found.emplace_back("…");
      break;
    }
    if (mappings.empty()) mappings = mappings_of(process, mappings_max);
    const std::string library = library_of(process, each.path().string(), mappings);
    found.push_back(printable(*name) + (library.empty() ? "" : " of " + printable(library)));
  }
  return found;
}

pid_t parent_of(pid_t pid) {
  constexpr std::string_view field = "\nPPid:\t";
  const auto status = read_text("/proc/" + std::to_string(pid) + "/status");
  const std::size_t at = status ? status->find(field) : std::string::npos;
  pid_t parent = 0;
  if (at != std::string::npos) {
    const char* const begin = status->data() + at + field.size();
    std::from_chars(begin, status->data() + status->size(), parent);
  }
  return parent;
}

std::vector<std::string> beside(pid_t program, const std::vector<pid_t>& all) {
  constexpr std::size_t named_max = 4;
  std::set<pid_t> line;
  for (pid_t pid = program; pid > 1 && line.insert(pid).second;) pid = parent_of(pid);
  std::vector<std::string> names;
  for (const pid_t pid : all) {
    if (line.contains(pid)) continue;
    const std::string process = "/proc/" + std::to_string(pid);
    const auto status = read_text(process + "/status");
    if (!status || status->contains("\nState:\tZ")) continue;
    if (names.size() == named_max) {
      names.emplace_back("…");
      break;
    }
    std::string name = read_text(process + "/comm").value_or("");
    while (name.ends_with('\n')) name.pop_back();
    names.push_back(std::move(name));
  }
  return names;
}

}  // namespace dormouse::sandbox
