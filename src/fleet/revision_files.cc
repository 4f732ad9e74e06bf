#include "fleet/revision_files.h"

#include <algorithm>

namespace dormouse::fleet {
namespace {

const catalog::File* find(const catalog::Draft& draft, const std::string& path) {
  const auto found = std::ranges::find(draft.files, path, &catalog::File::path);
  return found == draft.files.end() ? nullptr : &*found;
}

bool says_yes(const wire::Options& options, std::string_view name) {
  const auto found = options.find(std::string(name));
  return found != options.end() && found->second == "yes";
}

}  // namespace

std::string tree_name(const catalog::Draft& draft) {
  std::string name(catalog::digest_of(draft).hex());
  for (const catalog::File& file : draft.prepared) name.append("-").append(file.digest.brief());
  return name;
}

std::vector<std::pair<std::string, Digest>> tree_files(const catalog::Draft& draft) {
  std::vector<std::pair<std::string, Digest>> files;
  for (const catalog::File& file : draft.files) files.emplace_back(file.path, file.digest);
  for (const catalog::File& file : draft.prepared) files.emplace_back(file.path, file.digest);
  return files;
}

wire::Options options_of(const catalog::Draft& draft) {
  const catalog::Manifest& manifest = draft.manifest;
  wire::Options options{{"name", manifest.name},
                        {"memory_mib", std::to_string(manifest.resources.memory_bytes >> 20)},
                        {"threads", std::to_string(manifest.threads)},
                        {"concurrency", std::to_string(manifest.concurrency)},
                        {"python.packages", manifest.python_packages}};
  if (manifest.llm != catalog::Llm{}) {
    options["llm.context"] = std::to_string(manifest.llm.context);
    options["llm.weights"] = manifest.llm.weights;
    options["llm.pooling"] = manifest.llm.pooling;
    options["llm.chat_template"] = manifest.llm.chat_template;
  }
  if (!manifest.model.empty()) options["model"] = manifest.model;
  if (const auto* model = find(draft, manifest.model))
    options["model.digest"] = model->digest.text();
  if (!manifest.handler.empty()) options["handler"] = manifest.handler;
  for (std::size_t i = 0; i < manifest.command.size(); ++i) {
    options["command." + std::to_string(i)] = manifest.command[i];
  }
  if (!manifest.task.empty()) options["task"] = manifest.task;
  for (const auto& [key, value] : manifest.task_options) options["task." + key] = value;
  for (const auto& [key, value] : manifest.env) options["env." + key] = value;
  return options;
}

std::set<std::string> tree_names(const catalog::Catalog& catalog) {
  std::set<std::string> names;
  for (const auto& [_, function] : catalog.all()) {
    for (const auto& [number, revision] : function.revisions) names.insert(tree_name(*revision));
  }
  return names;
}

std::set<conversations::Revision> revisions_in(const catalog::Catalog& catalog) {
  std::set<conversations::Revision> all;
  for (const auto& [name, function] : catalog.all()) {
    for (const auto& [number, revision] : function.revisions) {
      all.insert({revision->tenant, name, std::string(revision->digest.hex())});
    }
  }
  return all;
}

sandbox::Limits limits_of(const catalog::Manifest& manifest) {
  return {.memory_bytes_max = static_cast<std::uint64_t>(manifest.resources.memory_bytes),
          .cpu_millicores_max = static_cast<std::uint32_t>(manifest.resources.cpu_millicores)};
}

sandbox::Limits limits_of_template(const catalog::Manifest& manifest) {
  constexpr std::uint64_t page_bytes = 4096, entry_bytes = 8, fork_bytes = 128 << 10;
  sandbox::Limits limits = limits_of(manifest);
  const std::uint64_t declared = limits.memory_bytes_max;
  const std::uint64_t of_a_fork = declared / page_bytes * entry_bytes + fork_bytes;
  limits.memory_bytes_max =
      2 * declared + static_cast<std::uint64_t>(manifest.instances_max) * of_a_fork;
  return limits;
}

bool forks(const catalog::Draft& draft) {
  return says_yes(draft.load_options, template_option);
}

bool has_snapshot(const catalog::Draft& draft) {
  return says_yes(draft.load_options, snapshot_option);
}

// Its memory is there once, and tables beside it.
std::uint64_t snapshot_bytes_max(const catalog::Manifest& manifest) {
  constexpr std::uint64_t slack = 64 << 20;
  return static_cast<std::uint64_t>(manifest.resources.memory_bytes) + slack;
}

std::int64_t snapshot_bytes(const catalog::Draft& draft) {
  const auto found = std::ranges::find(draft.prepared, snapshot_path, &catalog::File::path);
  return found == draft.prepared.end() ? 0 : static_cast<std::int64_t>(found->size);
}

Result<> check_files(const catalog::Draft& draft) {
  const std::string& model = draft.manifest.model;
  if (model.empty() || find(draft, model) != nullptr) return ok;
  std::string there;
  for (const catalog::File& file : draft.files) there += (there.empty() ? "" : ", ") + file.path;
  return Error{Code::invalid_argument,
               "model: the file \"" + model + "\" was not uploaded; these were: " + there};
}

}  // namespace dormouse::fleet
