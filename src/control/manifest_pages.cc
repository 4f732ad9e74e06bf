#include "control/manifest_pages.h"

#include <boost/json.hpp>

#include "control/manifest_fields.h"

namespace dormouse::control {
namespace {

std::string default_text(const Field& field) {
  if (field.required) return "required";
  catalog::Manifest defaults;
  const json::value value = written(field, defaults);
  if (value.is_object() || value.is_array() || (value.is_string() && value.get_string().empty()))
    return "none";
  return "`" + (value.is_string() ? std::string(value.get_string()) : json::serialize(value)) + "`";
}

// Where a field's schema goes among the properties: there, or in its section, which is made if need
// be.
json::object& place_of(const Field& field, json::object& properties) {
  const auto section = section_of(field);
  if (section.empty()) return properties;
  const json::object empty{{"type", "object"}, {"additionalProperties", false}};
  auto& schema = properties.emplace(section, empty).first->value().get_object();
  return schema.emplace("properties", json::object()).first->value().get_object();
}

json::object schema_of(const Field& field) {
  json::object schema{{"description", std::string(field.meaning) + " Allowed: " + allowed(field)}};
  const bool is_map =
      std::holds_alternative<Map>(field.holds) || std::holds_alternative<SecretMap>(field.holds);
  if (is_map) schema["type"] = "object";
  if (std::holds_alternative<Count>(field.holds)) schema["type"] = "integer";
  if (!schema.contains("type")) schema["type"] = json::array{"string", "number"};
  if (std::holds_alternative<Text>(field.holds)) schema["type"] = "string";
  if (std::holds_alternative<List>(field.holds)) schema["type"] = "array";
  if (std::holds_alternative<NetworkReach>(field.holds)) {
    schema["type"] = json::array{"string", "object"};
  }
  return schema;
}

}  // namespace

json::object manifest_schema() {
  json::object properties;
  json::array required;
  for (const Field& field : manifest_fields()) {
    place_of(field, properties)[name_within(field)] = schema_of(field);
    if (field.required) required.push_back(json::string(field.name));
  }
  return {{"type", "object"},
          {"additionalProperties", false},
          {"required", std::move(required)},
          {"properties", std::move(properties)}};
}

std::string manifest_page() {
  return "# dormouse.yaml\n\n"
         "What a function is, in the folder that is deployed. An unknown field is an error.\n\n" +
         manifest_table() +
         "\nSizes are bytes or have a unit: `512MiB`, `1.5GiB` (KiB, MiB, GiB, TiB). Durations "
         "always have one:\n`500ms`, `30s`, `5m`, `1h30m` (us, ms, s, m, h, d). CPUs are cores or "
         "thousandths of one: `0.5`, `500m`.\n\n"
         "```yaml\n"
         "name: read-text-line\n"
         "runtime: onnx\n"
         "model: model.onnx\n"
         "task: text-line\n"
         "task_options:\n"
         "  keys: keys.txt\n"
         "memory: 256MiB\n"
         "keep_alive: 30s\n"
         "```\n\n"
         "A field with a dot is in a section:\n\n"
         "```yaml\n"
         "name: greet\n"
         "runtime: python\n"
         "handler: app.handler\n"
         "python:\n"
         "  packages: host\n"
         "```\n\n"
         "Secrets are named, never written here ([how to](../secrets.md)):\n\n"
         "```yaml\n"
         "secrets:\n"
         "  API_KEY: late                                # the secret API_KEY\n"
         "  DB_PASSWORD: {secret: prod-db, when: init}\n"
         "```\n\n"
         "A file of the folder may have any relative path of plain UTF-8 elements of at most 255 "
         "bytes, without\n`.`, `..`, backslashes or control characters; `.dormouse/` is the "
         "platform's own. At most 10,000 files.\n";
}

std::string manifest_table() {
  std::string table = "| field | type | default | allowed | meaning |\n|---|---|---|---|---|\n";
  for (const Field& field : manifest_fields()) {
    table += "| `" + std::string(field.name) + "` | " + std::string(type(field)) + " | " +
             default_text(field) + " | " + allowed(field) + " | " + std::string(field.meaning) +
             " |\n";
  }
  return table;
}

}  // namespace dormouse::control
