#include "control/manifest.h"

#include <algorithm>
#include <boost/json.hpp>

#include "control/manifest_fields.h"
#include "control/module_function.h"
#include "control/quantities.h"

namespace dormouse::control {
namespace {

using catalog::Manifest;

constexpr std::int32_t llm_sequences_max = 64;  // As runtimes/llm has it.

Error refused(std::string why) {
  return {Code::invalid_argument, std::move(why)};
}

// What a JSON value is, for an error: `"lots"`, `[1,2]`, cut if it is long.
std::string shown(const json::value& value) {
  constexpr std::size_t shown_max = 60;
  std::string text = json::serialize(value);
  if (text.size() <= shown_max) return text;
  text.resize(shown_max);
  return text + "…";
}

const Field* find_field(std::string_view name) {
  const auto fields = manifest_fields();
  const auto found = std::ranges::find(fields, name, &Field::name);
  return found == fields.end() ? nullptr : &*found;
}

bool is_section(std::string_view name) {
  const auto fields = manifest_fields();
  return !name.empty() && std::ranges::find(fields, name, section_of) != fields.end();
}

// The name of a field or of a section: whichever was meant.
Error unknown_field(std::string_view name) {
  std::vector<std::string_view> names;
  for (const Field& field : manifest_fields()) names.push_back(field.name);
  for (const Field& field : manifest_fields()) {
    const std::string_view section = section_of(field);
    if (!section.empty() && names.back() != section) names.push_back(section);
  }
  return unknown_name("field", name, names);
}

Result<> read_field(const Field& field, const json::value& value, Manifest& manifest) {
  auto done = read(field, value, manifest);
  if (done) return ok;
  const bool is_secret = std::holds_alternative<SecretMap>(field.holds);
  return refused(std::string(field.name) + ": " + (is_secret ? "this" : shown(value)) +
                 " is not allowed (" + done.error().message + "); allowed is " + allowed(field));
}

Result<> read_section(std::string_view section, const json::value& value, Manifest& manifest) {
  if (!value.is_object()) {
    return refused(std::string(section) + ": " + shown(value) + " is not a map of fields");
  }
  for (const auto& [key, entry] : value.get_object()) {
    const std::string name = std::string(section) + "." + std::string(key);
    const Field* field = find_field(name);
    if (field == nullptr) return unknown_field(name);
    if (auto done = read_field(*field, entry, manifest); !done) return done;
  }
  return ok;
}

Result<> read_entry(std::string_view name, const json::value& value, Manifest& manifest) {
  if (is_section(name)) return read_section(name, value, manifest);
  const Field* field = find_field(name);
  if (field == nullptr) return unknown_field(name);
  if (const std::string section(section_of(*field)); !section.empty()) {
    return refused("\"" + std::string(name) + "\" is written as " + section + ": {" +
                   std::string(name_within(*field)) + ": …}");
  }
  return read_field(*field, value, manifest);
}

// What means something to some runtimes only. Of a runtime that only the node's configuration knows
// nothing is said here.
struct RuntimesField {
  std::string_view name;
  std::vector<std::string_view> runtimes;
  bool (*is_set)(const Manifest&);
};

const std::vector<RuntimesField>& runtimes_fields() {
  static const std::vector<RuntimesField> all{
      {"command", {"web"}, [](const Manifest& m) { return !m.command.empty(); }},
      {"handler",
       {"python", "node", "executable"},
       [](const Manifest& m) { return !m.handler.empty(); }},
      {"python", {"python"}, [](const Manifest& m) { return m.python_packages != "none"; }},
      {"snapshot: on",
       {"onnx", "llm", "python"},
       [](const Manifest& m) { return m.snapshot == catalog::snapshot_on; }},
      {"model", {"onnx", "llm", "llm-cuda"}, [](const Manifest& m) { return !m.model.empty(); }},
      {"task", {"onnx"}, [](const Manifest& m) { return !m.task.empty(); }},
      {"task_options", {"onnx"}, [](const Manifest& m) { return !m.task_options.empty(); }},
      {"llm", {"llm", "llm-cuda"}, [](const Manifest& m) { return m.llm != catalog::Llm{}; }},
  };
  return all;
}

Result<> check_runtimes_fields(const Manifest& manifest) {
  constexpr std::string_view known[] = {"onnx", "llm",        "llm-cuda", "python",
                                        "node", "executable", "web"};
  if (std::ranges::find(known, manifest.runtime) == std::end(known)) return ok;
  for (const RuntimesField& field : runtimes_fields()) {
    if (std::ranges::count(field.runtimes, manifest.runtime) > 0 || !field.is_set(manifest))
      continue;
    std::string whose(field.runtimes.front());
    for (std::size_t i = 1; i < field.runtimes.size(); ++i) {
      whose += (i + 1 == field.runtimes.size() ? " and " : ", ") + std::string(field.runtimes[i]);
    }
    const char* const kind =
        field.runtimes.size() == 1 ? " is for the runtime " : " is for the runtimes ";
    return refused(std::string(field.name) + kind + whose + ", not for " + manifest.runtime);
  }
  return ok;
}

// What no single field can see.
Result<> check_together(const Manifest& manifest) {
  if (manifest.instances_min > manifest.instances_max) {
    return refused("min_instances (" + std::to_string(manifest.instances_min) +
                   ") is more than max_instances (" + std::to_string(manifest.instances_max) + ")");
  }
  if (manifest.reuse == catalog::reuse_clean && manifest.concurrency != 1) {
    return refused("reuse: clean means that an instance takes one call, so concurrency is 1, not " +
                   std::to_string(manifest.concurrency));
  }
  if (auto good = check_runtimes_fields(manifest); !good) return good;
  const bool has_init = std::ranges::any_of(
      manifest.secrets, [](const auto& each) { return each.second.when == catalog::When::init; });
  if (manifest.snapshot == catalog::snapshot_on && has_init) {
    return refused("snapshot: on would write secrets to disk that are `init`; declare them `late`");
  }
  if (runs_language_models(manifest.runtime) && manifest.concurrency > llm_sequences_max) {
    return refused("concurrency is at most " + std::to_string(llm_sequences_max) +
                   " for the runtime " + manifest.runtime);
  }
  if (manifest.runtime == "python" || manifest.runtime == "node") {
    if (auto good = check_module_function(manifest.handler); !good) return good;
  }
  return check_secret_uses(manifest);
}
// Where a field's value goes in `whole`: there, or in its section, which is made if need be.
json::object& object_of(const Field& field, json::object& whole) {
  const auto section = section_of(field);
  if (section.empty()) return whole;
  return whole.emplace(section, json::object()).first->value().get_object();
}

}  // namespace

bool runs_language_models(std::string_view runtime) {
  return runtime == "llm" || runtime == "llm-cuda";
}

bool runs_models(std::string_view runtime) {
  return runtime == "onnx" || runs_language_models(runtime);
}

Result<Manifest> read_manifest(const json::value& value) {
  if (!value.is_object()) return refused("a manifest is a map of fields");
  Manifest manifest;
  for (const auto& [name, entry] : value.get_object()) {
    auto done = read_entry(std::string_view(name), entry, manifest);
    if (!done) return done.error();
  }
  for (const Field& field : manifest_fields()) {
    if (field.required && !value.get_object().contains(field.name)) {
      return refused(std::string(field.name) + " is missing");
    }
  }
  if (auto good = check_together(manifest); !good) return good.error();
  if (manifest.model.empty() && runs_models(manifest.runtime)) {
    manifest.model = manifest.runtime == "onnx" ? "model.onnx" : "model.gguf";
  }
  return manifest;
}

json::object manifest_json(const Manifest& manifest) {
  Manifest copy = manifest;
  json::object object;
  for (const Field& field : manifest_fields()) {
    json::value value = written(field, copy);
    object_of(field, object)[name_within(field)] = std::move(value);
  }
  return object;
}

}  // namespace dormouse::control
