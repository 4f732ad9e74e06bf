#include "fleet/revision_secrets.h"

#include <algorithm>
#include <set>

#include "fleet/revision_files.h"

namespace dormouse::fleet {
namespace {

Result<std::string> within_a_frame(std::string payload) {
  if (payload.size() <= wire::payload_bytes_max) return payload;
  return Error{Code::function_failed, "its environment variables and secrets have together " +
                                          std::to_string(payload.size()) + " bytes; at most " +
                                          std::to_string(wire::payload_bytes_max) +
                                          " reach a function"};
}

}  // namespace

Result<std::string> load_with_secrets(wire::Options options, const SecretUses& uses,
                                      const secrets::Secrets& secrets) {
  const auto option = options.find(std::string(template_option));
  const bool is_template = option != options.end() && option->second == "yes";
  for (const auto& [variable, use] : uses) {
    if (is_template && use.when == catalog::When::late) continue;
    auto value = secrets.read(use.secret);
    if (!value) return std::move(value).error();
    options["env." + variable] = std::move(*value);
  }
  return within_a_frame(wire::encode(wire::Load{std::move(options)}));
}

Result<std::string> go_with_secrets(const SecretUses& uses, const secrets::Secrets& secrets) {
  wire::Go go;
  for (const auto& [variable, use] : uses) {
    if (use.when != catalog::When::late) continue;
    auto value = secrets.read(use.secret);
    if (!value) return std::move(value).error();
    go.environment[variable] = std::move(*value);
  }
  if (go.environment.empty()) return std::string();
  return within_a_frame(wire::encode(go));
}

std::map<std::string, std::string> not_for_templates(const SecretUses& uses,
                                                     const secrets::Secrets& secrets) {
  std::map<std::string, std::string> found;
  std::set<std::string> known;
  for (const auto& [variable, use] : uses) {
    auto value = secrets.read(use.secret);
    if (!value || value->size() < sought_bytes_min) continue;
    if (use.when == catalog::When::init)
      known.insert(std::move(*value));
    else
      found[variable] = std::move(*value);
  }
  std::erase_if(found, [&](const auto& each) { return known.contains(each.second); });
  return found;
}

bool has_late(const SecretUses& uses) {
  return std::ranges::any_of(
      uses, [](const auto& each) { return each.second.when == catalog::When::late; });
}

bool has_init(const SecretUses& uses) {
  return std::ranges::any_of(
      uses, [](const auto& each) { return each.second.when == catalog::When::init; });
}

std::vector<std::int64_t> init_versions(const SecretUses& uses, const secrets::Secrets& secrets) {
  std::vector<std::int64_t> versions;
  if (uses.empty()) return versions;
  for (const secrets::Fact& fact : secrets.list()) {
    const bool is_init = std::ranges::any_of(uses, [&](const auto& each) {
      return each.second.secret == fact.name && each.second.when == catalog::When::init;
    });
    if (is_init) versions.push_back(fact.version);
  }
  return versions;
}

}  // namespace dormouse::fleet
