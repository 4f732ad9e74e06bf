#include "catalog/validate.h"

#include <algorithm>
#include <limits>

namespace dormouse::catalog {
namespace {

constexpr std::size_t name_size_max = 64;
constexpr std::size_t path_size_max = 1024;
constexpr std::size_t files_max = 10'000;
constexpr std::string_view prepared_prefix = ".dormouse/";

Error invalid(std::string what) {
  return {Code::invalid_argument, std::move(what)};
}

bool is_part(std::string_view part) {
  return !part.empty() && part.size() <= 255 && part != "." && part != ".." &&
         std::ranges::none_of(part, [](unsigned char c) { return c < ' ' || c == 0x7F; });
}

Result<> validate_files(const Draft& draft) {
  if (draft.files.size() + draft.prepared.size() > files_max) return invalid("too many files");
  std::set<std::string_view> seen;
  const auto good = [&](const File& file, bool prepared) {
    return is_file_path(file.path) && file.path.starts_with(prepared_prefix) == prepared &&
           seen.insert(file.path).second;
  };
  for (const File& file : draft.files) {
    if (!good(file, false)) return invalid("file \"" + file.path + "\": not a path of its own");
  }
  for (const File& file : draft.prepared) {
    if (!good(file, true)) return invalid("prepared \"" + file.path + "\": not a path of its own");
  }
  const std::string& model = draft.manifest.model;
  if (!model.empty() && !seen.contains(model)) {
    return invalid("model: \"" + model + "\" is not among the files");
  }
  return ok;
}

Result<> validate_numbers(const Manifest& m) {
  const std::int64_t most = std::numeric_limits<std::int32_t>::max();
  const struct {
    const char* name;
    std::int64_t value, least;
  } rows[] = {
      {"cpu", m.resources.cpu_millicores, 1},
      {"memory", m.resources.memory_bytes, 1 << 20},
      {"accelerator", m.resources.accelerator_bytes, 0},
      {"timeout", m.timeout.count(), 1},
      {"start_timeout", m.start_timeout.count(), 1},
      {"keep_alive", m.keep_alive.count(), 0},
      {"template_keep_alive", m.template_keep_alive.count(), 0},
      {"concurrency", m.concurrency, 1},
      {"threads", m.threads, 1},
      {"min instances", m.instances_min, 0},
      {"max instances", m.instances_max, 1},
      {"queue", m.queue_max, 0},
      {"max_body", m.body_bytes_max, 0},
  };
  for (const auto& row : rows) {
    if (row.value < row.least) {
      return invalid(std::string(row.name) + ": at least " + std::to_string(row.least));
    }
  }
  if (m.resources.cpu_millicores > most) return invalid("cpu: too many");
  if (m.instances_min > m.instances_max) return invalid("min instances: more than the maximum");
  if (m.snapshot != snapshot_auto && m.snapshot != snapshot_on && m.snapshot != snapshot_off) {
    return invalid("snapshot: auto, on or off");
  }
  if (m.reuse != reuse_warm && m.reuse != reuse_clean) return invalid("reuse: warm or clean");
  if (m.reuse == reuse_clean && m.concurrency != 1) return invalid("reuse: clean: concurrency 1");
  return ok;
}

}  // namespace

bool is_function_name(std::string_view name) {
  const auto is_good = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
  };
  return !name.empty() && name.size() <= name_size_max && name.front() != '-' &&
         name.back() != '-' && std::ranges::all_of(name, is_good);
}

bool is_file_path(std::string_view path) {
  if (path.size() > path_size_max) return false;
  for (;;) {
    const std::size_t slash = path.find('/');
    if (!is_part(path.substr(0, slash))) return false;
    if (slash == path.npos) return true;
    path.remove_prefix(slash + 1);
  }
}

Result<> validate(const Draft& draft) {
  if (!is_function_name(draft.manifest.name)) {
    return invalid("name: \"" + draft.manifest.name +
                   "\": letters, digits, \"_\", and \"-\" within, at most 64");
  }
  if (draft.manifest.runtime.empty()) return invalid("runtime: missing");
  const std::string& packages = draft.manifest.python_packages;
  if (packages != "none" && packages != "host") {
    return invalid("python.packages: \"" + packages + "\": none or host");
  }
  if (auto good = validate_numbers(draft.manifest); !good) return good;
  return validate_files(draft);
}

}  // namespace dormouse::catalog
