#include "control/manifest.h"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <cmath>
#include <variant>

#include "control/network.h"
#include "control/quantities.h"
#include "control/secret_uses.h"

namespace dormouse::control {
namespace {

using catalog::Manifest;
using Texts = std::map<std::string, std::string>;

// What a field holds: where it lies in a Manifest, and its bounds.
struct Text {
  std::string& (*at)(Manifest&);
  Result<> (*check)(std::string_view);
  const char* allowed;
};
struct Size {
  std::int64_t& (*at)(Manifest&);
  std::int64_t least, most;
};
struct Cpus {
  std::int64_t& (*at)(Manifest&);
  std::int64_t least, most;  // Thousandths.
};
struct Time {
  Duration& (*at)(Manifest&);
  Duration least, most;
};
struct Count {
  std::int32_t& (*at)(Manifest&);
  std::int32_t least, most;
};
struct Map {
  Texts& (*at)(Manifest&);
  bool (*good_key)(std::string_view);
  const char* keys;
};
struct SecretMap {
  SecretUses& (*at)(Manifest&);
};
struct List {
  std::vector<std::string>& (*at)(Manifest&);
  std::size_t most;
};
struct NetworkReach {
  catalog::Network& (*at)(Manifest&);
};
struct Field {
  std::string_view name;  // "python.packages": "packages" in the section "python".
  std::variant<Text, Size, Cpus, Time, Count, Map, SecretMap, List, NetworkReach> holds;
  std::string_view meaning;
  bool required = false;
};

constexpr std::size_t map_entries_max = 256;
constexpr std::size_t map_value_bytes_max = 32 * 1024;

Error refused(std::string why) {
  return {Code::invalid_argument, std::move(why)};
}

bool is_lower(char c) {
  return c >= 'a' && c <= 'z';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

Result<> check_name(std::string_view name) {
  const auto good = [](char c) { return is_lower(c) || is_digit(c) || c == '-'; };
  const bool is_name = !name.empty() && name.size() <= 63 && std::ranges::all_of(name, good) &&
                       name.front() != '-' && name.back() != '-';
  if (!is_name) return refused("not a name");
  return ok;
}

Result<> check_word(std::string_view word) {
  const auto good = [](char c) { return is_lower(c) || is_digit(c) || c == '-' || c == '_'; };
  if (word.size() > 63 || !std::ranges::all_of(word, good)) return refused("not a word");
  return ok;
}

Result<> check_runtime(std::string_view word) {
  if (word.empty()) return refused("empty");
  return check_word(word);
}

Result<> check_model(std::string_view path) {
  if (path.empty()) return ok;
  return check_path(path);
}

bool is_option_name(std::string_view name) {
  return !name.empty() && check_word(name);
}

// "app.handler", "folder/app.handler", "pkg.app.handler": the last part is a function's name.
Result<> check_handler(std::string_view handler) {
  constexpr std::size_t bytes_max = 255;
  if (handler.empty()) return ok;
  if (handler.size() > bytes_max) return refused("over 255 bytes");
  const auto last = handler.rfind('.');
  if (last == handler.npos) return refused("no \".\" before the function");
  const std::string_view function = handler.substr(last + 1);
  if (!is_variable(function)) return refused("no function after the last \".\"");
  for (std::string_view rest = handler.substr(0, last);;) {
    const auto end = std::min(rest.find_first_of("./"), rest.size());
    const auto good = [](char c) {
      return is_lower(c) || is_digit(c) || (c >= 'A' && c <= 'Z') || c == '_' || c == '-';
    };
    if (end == 0) return refused("an empty part");
    if (!std::ranges::all_of(rest.substr(0, end), good)) return refused("not a module's name");
    if (end == rest.size()) return ok;
    rest.remove_prefix(end + 1);
  }
}

bool is_label(std::string_view name) {
  constexpr std::size_t bytes_max = 200;
  const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; };
  return !name.empty() && name.size() <= bytes_max && std::ranges::none_of(name, is_control);
}

Result<> check_packages(std::string_view whose) {
  if (whose != "none" && whose != "host") return refused("neither");
  return ok;
}

using namespace std::chrono_literals;
constexpr std::int64_t kib = 1 << 10, mib = 1 << 20;
constexpr std::int64_t gib = std::int64_t{1} << 30, tib = std::int64_t{1} << 40;

const std::array<Field, 24> fields{{
    {"name",
     Text{[](Manifest& m) -> std::string& { return m.name; }, check_name,
          "1 to 63 lower-case letters, digits and \"-\", not beginning or ending with \"-\""},
     "What the function is called, in its URL and everywhere.", true},
    {"runtime",
     Text{[](Manifest& m) -> std::string& { return m.runtime; }, check_runtime,
          "a runtime that the node has"},
     "How the files are brought to life: `onnx`, `python`, `node`, `executable`, `web`.", true},
    {"model",
     Text{[](Manifest& m) -> std::string& { return m.model; }, check_model,
          "the path of a file of the deploy"},
     "The model's file, for runtimes that want one."},
    {"handler",
     Text{[](Manifest& m) -> std::string& { return m.handler; }, check_handler,
          "MODULE.FUNCTION of letters, digits, \"_\", \"-\", \".\" and \"/\", at most 255 bytes"},
     "The function that is called, for `python` and `node`: `app.handler` is `handler` in "
     "`app.py`, "
     "`app.mjs` or `app.js`; also `folder/app.handler`."},
    {"command", List{[](Manifest& m) -> std::vector<std::string>& { return m.command; }, 64},
     "The program that is started, and its arguments, for `web`: `[node, server.mjs]`. Without it: "
     "`bootstrap`."},
    {"task",
     Text{[](Manifest& m) -> std::string& { return m.task; }, check_word,
          "a task that the runtime knows"},
     "What the model is for, so that people's files go in and answers come out: `text-line` takes "
     "a picture and gives a line of text. Without it: raw tensors."},
    {"task_options",
     Map{[](Manifest& m) -> Texts& { return m.task_options; }, is_option_name,
         "lower-case letters, digits, \"-\" and \"_\""},
     "What the task wants to know: `keys: keys.txt`."},
    {"python.packages",
     Text{[](Manifest& m) -> std::string& { return m.python_packages; }, check_packages,
          "`none` or `host`"},
     "Whether the function sees the Python packages that the host has installed, read-only."},
    {"memory",
     Size{[](Manifest& m) -> std::int64_t& { return m.resources.memory_bytes; }, 16 * mib, 4 * tib},
     "What an instance may hold, and what is billed. One that takes more is killed."},
    {"cpu",
     Cpus{[](Manifest& m) -> std::int64_t& { return m.resources.cpu_millicores; }, 10, 1'024'000},
     "How much of the node's CPUs an instance may use: `0.5`, `500m`, `2`."},
    {"timeout", Time{[](Manifest& m) -> Duration& { return m.timeout; }, 1ms, 24h},
     "How long a call may take, waiting and waking included."},
    {"start_timeout", Time{[](Manifest& m) -> Duration& { return m.start_timeout; }, 1ms, 1h},
     "How long an instance may take to become ready."},
    {"keep_alive", Time{[](Manifest& m) -> Duration& { return m.keep_alive; }, 0ms, 720h},
     "How long an idle instance dozes before it goes to sleep."},
    {"template_keep_alive",
     Time{[](Manifest& m) -> Duration& { return m.template_keep_alive; }, 0ms, 720h},
     "How long the template that instances are forked from stays after the last instance is gone."},
    {"concurrency", Count{[](Manifest& m) -> std::int32_t& { return m.concurrency; }, 1, 1000},
     "How many calls one instance serves at a time. In Python each has a thread, and async "
     "handlers share an event loop."},
    {"threads", Count{[](Manifest& m) -> std::int32_t& { return m.threads; }, 1, 1024},
     "How many threads the runtime computes a call with."},
    {"min_instances",
     Count{[](Manifest& m) -> std::int32_t& { return m.instances_min; }, 0, 10'000},
     "How many instances stay awake without calls. 0: the function sleeps."},
    {"max_instances",
     Count{[](Manifest& m) -> std::int32_t& { return m.instances_max; }, 1, 10'000},
     "How many instances there may be at most."},
    {"queue", Count{[](Manifest& m) -> std::int32_t& { return m.queue_max; }, 0, 100'000},
     "How many calls may wait for an instance; further ones get 429."},
    {"max_body",
     Size{[](Manifest& m) -> std::int64_t& { return m.body_bytes_max; }, 1 * kib, 4 * gib},
     "How large a request's body may be; larger ones get 413."},
    {"env",
     Map{[](Manifest& m) -> Texts& { return m.env; }, is_variable,
         "letters, digits and \"_\", not beginning with a digit"},
     "Environment variables of the function. Not for secrets: they are shown."},
    {"secrets", SecretMap{[](Manifest& m) -> SecretUses& { return m.secrets; }},
     "Environment variables whose values are secrets, set with `dormouse secret set`. `late`: "
     "there before the first call; `init`: there when the code is loaded."},
    {"network", NetworkReach{[](Manifest& m) -> catalog::Network& { return m.network; }},
     "What the function may reach: nothing; the world, which is neither this node nor any private "
     "network; or these hosts alone, whose names are resolved as it is deployed."},
    {"labels",
     Map{[](Manifest& m) -> Texts& { return m.labels; }, is_label,
         "1 to 200 bytes of UTF-8 without control characters"},
     "What tools and people want to remember of it; shown, and nothing depends on it."},
}};

// What a JSON value is, for an error: `"lots"`, `[1,2]`, cut if it is long.
std::string shown(const json::value& value) {
  constexpr std::size_t shown_max = 60;
  std::string text = json::serialize(value);
  if (text.size() <= shown_max) return text;
  text.resize(shown_max);
  return text + "…";
}

// One overload for each kind of field: what it allows, how it is read, how it is written.
std::string allowed(const Text& field) {
  return field.allowed;
}
std::string allowed(const Size& field) {
  return "from " + size_text(field.least) + " to " + size_text(field.most);
}
std::string allowed(const Cpus& field) {
  return "from " + millicores_text(field.least) + " to " + millicores_text(field.most);
}
std::string allowed(const Time& field) {
  return "from " + duration_text(field.least) + " to " + duration_text(field.most);
}
std::string allowed(const Count& field) {
  return "from " + std::to_string(field.least) + " to " + std::to_string(field.most);
}
std::string allowed(const Map& field) {
  return std::string("names of ") + field.keys + ", with text as values";
}

std::string allowed(const SecretMap&) {
  return "names of variables, each with `late`, `init` or {secret: NAME, when: late or init}";
}

std::string allowed(const List& field) {
  return "a list of at most " + std::to_string(field.most) + " texts";
}
std::string allowed(const NetworkReach&) {
  return "`none`, `outbound`, or `{allow: [HOST:PORT, …]}` with names or IPv4 addresses";
}

std::string_view type(const Text&) {
  return "text";
}
std::string_view type(const List&) {
  return "list of texts";
}
std::string_view type(const Size&) {
  return "size";
}
std::string_view type(const Cpus&) {
  return "CPUs";
}
std::string_view type(const Time&) {
  return "duration";
}
std::string_view type(const Count&) {
  return "whole number";
}
std::string_view type(const Map&) {
  return "map of texts";
}
std::string_view type(const SecretMap&) {
  return "map of secrets";
}
std::string_view type(const NetworkReach&) {
  return "network";
}

template <class Held, class Number>
Result<> set(const Held& field, Manifest& manifest, Number number) {
  if (number < field.least || number > field.most) return refused("out of range");
  field.at(manifest) = static_cast<std::remove_reference_t<decltype(field.at(manifest))>>(number);
  return ok;
}

Result<> read(const Text& field, const json::value& value, Manifest& manifest) {
  if (!value.is_string()) return refused("not a text");
  const std::string text(value.get_string());
  if (auto good = field.check(text); !good) return good;
  field.at(manifest) = text;
  return ok;
}

Result<> read(const Size& field, const json::value& value, Manifest& manifest) {
  if (value.is_int64()) return set(field, manifest, value.get_int64());
  if (!value.is_string()) return refused("not a size");
  const auto bytes = parse_size(std::string_view(value.get_string()));
  if (!bytes) return bytes.error();
  return set(field, manifest, *bytes);
}

Result<> read(const Cpus& field, const json::value& value, Manifest& manifest) {
  const bool number = value.is_number();
  if (!number && !value.is_string()) return refused("not a share of CPUs");
  const std::string text = number ? json::serialize(value) : std::string(value.get_string());
  // 0.5 is serialized as 5E-1: read the few decimals there may be from the number itself.
  if (value.is_double()) {
    const double thousandths = value.get_double() * 1000;
    if (!(thousandths >= 0 && thousandths < 1e9)) return refused("out of range");
    return set(field, manifest, std::llround(thousandths));
  }
  const auto millicores = parse_millicores(text);
  if (!millicores) return millicores.error();
  return set(field, manifest, *millicores);
}

Result<> read(const Time& field, const json::value& value, Manifest& manifest) {
  if (!value.is_string()) return refused("not a duration: it needs a unit, as in \"30s\"");
  const auto duration = parse_duration(std::string_view(value.get_string()));
  if (!duration) return duration.error();
  return set(field, manifest, *duration);
}

Result<> read(const Count& field, const json::value& value, Manifest& manifest) {
  if (!value.is_int64()) return refused("not a whole number");
  return set(field, manifest, value.get_int64());
}

// Numbers and booleans are taken as the text they are written as: PORT: 80 is what people write.
Result<std::string> map_value(const json::value& value) {
  if (value.is_string()) return std::string(value.get_string());
  if (value.is_int64() || value.is_uint64() || value.is_bool()) return json::serialize(value);
  return refused("not a text");
}

Result<> read(const Map& field, const json::value& value, Manifest& manifest) {
  if (!value.is_object()) return refused("not a map");
  if (value.get_object().size() > map_entries_max) {
    return refused("more than " + std::to_string(map_entries_max) + " entries");
  }
  for (const auto& [key, entry] : value.get_object()) {
    if (!field.good_key(std::string_view(key))) {
      return refused("\"" + std::string(key) + "\" is not a name");
    }
    auto text = map_value(entry);
    if (!text) return std::move(text).error().during("\"" + std::string(key) + "\"");
    if (text->size() > map_value_bytes_max || text->find('\0') != text->npos) {
      return refused("\"" + std::string(key) + "\": longer than 32KiB, or with a NUL in it");
    }
    field.at(manifest).insert_or_assign(std::string(key), std::move(*text));
  }
  return ok;
}

Result<> read(const SecretMap& field, const json::value& value, Manifest& manifest) {
  auto uses = read_secret_uses(value);
  if (!uses) return std::move(uses).error();
  field.at(manifest) = std::move(*uses);
  return ok;
}

Result<> read(const List& field, const json::value& value, Manifest& manifest) {
  if (!value.is_array()) return refused("not a list");
  const json::array& entries = value.get_array();
  if (entries.size() > field.most) return refused("too many");
  std::vector<std::string> texts;
  for (const json::value& entry : entries) {
    auto text = map_value(entry);
    if (!text) return std::move(text).error();
    if (text->size() > map_value_bytes_max || text->find('\0') != text->npos) {
      return refused("an entry is longer than 32KiB, or has a NUL in it");
    }
    texts.push_back(std::move(*text));
  }
  if (!texts.empty() && texts.front().empty()) return refused("the program is empty");
  field.at(manifest) = std::move(texts);
  return ok;
}

json::value written(const List& field, Manifest& manifest) {
  json::array texts;
  for (const std::string& text : field.at(manifest)) texts.push_back(json::string(text));
  return texts;
}
Result<> read(const NetworkReach& field, const json::value& value, Manifest& manifest) {
  auto network = read_network(value);
  if (!network) return std::move(network).error();
  field.at(manifest) = std::move(*network);
  return ok;
}

json::value written(const Text& field, Manifest& manifest) {
  return json::string(field.at(manifest));
}
json::value written(const Size& field, Manifest& manifest) {
  return json::string(size_text(field.at(manifest)));
}
json::value written(const Cpus& field, Manifest& manifest) {
  return json::string(millicores_text(field.at(manifest)));
}
json::value written(const Time& field, Manifest& manifest) {
  return json::string(duration_text(field.at(manifest)));
}
json::value written(const Count& field, Manifest& manifest) {
  return field.at(manifest);
}
json::value written(const Map& field, Manifest& manifest) {
  json::object entries;
  for (const auto& [key, text] : field.at(manifest)) entries[key] = text;
  return entries;
}
json::value written(const SecretMap& field, Manifest& manifest) {
  return secret_uses_json(field.at(manifest));
}
json::value written(const NetworkReach& field, Manifest& manifest) {
  return network_json(field.at(manifest));
}

const Field* find_field(std::string_view name) {
  const auto found = std::ranges::find(fields, name, &Field::name);
  return found == fields.end() ? nullptr : &*found;
}

// "python.packages" → "python"; "" of a field that is in no section.
std::string_view section_of(const Field& field) {
  return field.name.substr(0, field.name.contains('.') ? field.name.find('.') : 0);
}

std::string_view name_within(const Field& field) {
  return field.name.substr(field.name.find('.') + 1);  // npos + 1 is 0: all of it.
}

bool is_section(std::string_view name) {
  return !name.empty() && std::ranges::find(fields, name, section_of) != fields.end();
}

// The name of a field or of a section: whichever was meant.
Error unknown_field(std::string_view name) {
  std::vector<std::string_view> names;
  for (const Field& field : fields) names.push_back(field.name);
  for (const Field& field : fields) {
    const std::string_view section = section_of(field);
    if (!section.empty() && names.back() != section) names.push_back(section);
  }
  return unknown_name("field", name, names);
}

Result<> read_field(const Field& field, const json::value& value, Manifest& manifest) {
  const auto read_it = [&](const auto& held) { return read(held, value, manifest); };
  auto done = std::visit(read_it, field.holds);
  if (done) return ok;
  const auto bounds = std::visit([](const auto& held) { return allowed(held); }, field.holds);
  const bool is_secret = std::holds_alternative<SecretMap>(field.holds);
  return refused(std::string(field.name) + ": " + (is_secret ? "this" : shown(value)) +
                 " is not allowed (" + done.error().message + "); allowed is " + bounds);
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

// What no single field can see.
Result<> check_together(const Manifest& manifest) {
  if (manifest.instances_min > manifest.instances_max) {
    return refused("min_instances (" + std::to_string(manifest.instances_min) +
                   ") is more than max_instances (" + std::to_string(manifest.instances_max) + ")");
  }
  const bool calls_handler = manifest.runtime == "python" || manifest.runtime == "node";
  const bool others =
      calls_handler || manifest.runtime == "onnx" || manifest.runtime == "executable";
  if (others && !manifest.command.empty()) {
    return refused("command is for the runtime web, not for " + manifest.runtime);
  }
  if (calls_handler && manifest.handler.empty()) {
    return refused("handler is missing: say module.function, as app.handler");
  }
  return check_secret_uses(manifest);
}

std::string default_text(const Field& field) {
  if (field.required) return "required";
  Manifest defaults;
  const auto write = [&](const auto& held) { return written(held, defaults); };
  const json::value value = std::visit(write, field.holds);
  if (value.is_object() || value.is_array() || (value.is_string() && value.get_string().empty()))
    return "none";
  return "`" + (value.is_string() ? std::string(value.get_string()) : json::serialize(value)) + "`";
}

// Where a field's value goes in `whole`: there, or in its section, which is made if need be.
json::object& object_of(const Field& field, json::object& whole) {
  const auto section = section_of(field);
  if (section.empty()) return whole;
  return whole.emplace(section, json::object()).first->value().get_object();
}

// The same among the properties of a schema.
json::object& place_of(const Field& field, json::object& properties) {
  const auto section = section_of(field);
  if (section.empty()) return properties;
  const json::object empty{{"type", "object"}, {"additionalProperties", false}};
  auto& schema = properties.emplace(section, empty).first->value().get_object();
  return schema.emplace("properties", json::object()).first->value().get_object();
}

json::object schema_of(const Field& field) {
  const auto bounds = std::visit([](const auto& held) { return allowed(held); }, field.holds);
  json::object schema{{"description", std::string(field.meaning) + " Allowed: " + bounds}};
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

Result<Manifest> read_manifest(const json::value& value) {
  if (!value.is_object()) return refused("a manifest is a map of fields");
  Manifest manifest;
  for (const auto& [name, entry] : value.get_object()) {
    auto done = read_entry(std::string_view(name), entry, manifest);
    if (!done) return done.error();
  }
  for (const Field& field : fields) {
    if (field.required && !value.get_object().contains(field.name)) {
      return refused(std::string(field.name) + " is missing");
    }
  }
  if (auto good = check_together(manifest); !good) return good.error();
  return manifest;
}

json::object manifest_json(const Manifest& manifest) {
  Manifest copy = manifest;  // The accessors give references to change; one table serves both.
  json::object object;
  for (const Field& field : fields) {
    json::value value =
        std::visit([&](const auto& held) { return written(held, copy); }, field.holds);
    object_of(field, object)[name_within(field)] = std::move(value);
  }
  return object;
}

json::object manifest_schema() {
  json::object properties;
  json::array required;
  for (const Field& field : fields) {
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
  for (const Field& field : fields) {
    const auto kind = std::visit([](const auto& held) { return type(held); }, field.holds);
    const auto bounds = std::visit([](const auto& held) { return allowed(held); }, field.holds);
    table += "| `" + std::string(field.name) + "` | " + std::string(kind) + " | " +
             default_text(field) + " | " + bounds + " | " + std::string(field.meaning) + " |\n";
  }
  return table;
}

Result<> check_path(std::string_view path) {
  constexpr std::size_t path_bytes_max = 1024, element_bytes_max = 255;
  const std::string quoted = "the path \"" + gateway::valid_utf8(path.substr(0, 100)) + "\" ";
  if (path.empty() || path.size() > path_bytes_max) return refused(quoted + "is empty or too long");
  const auto hostile = [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7F || c == '\\';
  };
  if (std::ranges::any_of(path, hostile)) {
    return refused(quoted + "has a control character or a backslash");
  }
  if (gateway::valid_utf8(path) != path) return refused(quoted + "is not UTF-8");
  for (std::string_view rest = path;;) {
    const std::string_view element = rest.substr(0, rest.find('/'));
    if (element.empty()) return refused(quoted + "is absolute, or has an empty element");
    if (element == "." || element == "..") return refused(quoted + "has \".\" or \"..\" in it");
    if (element.size() > element_bytes_max)
      return refused(quoted + "has an element over 255 bytes");
    if (element.size() == rest.size()) break;
    rest.remove_prefix(element.size() + 1);
  }
  if (path == ".dormouse" || path.starts_with(".dormouse/")) {
    return refused(quoted + "is in .dormouse/, which is the platform's own");
  }
  return ok;
}

}  // namespace dormouse::control
