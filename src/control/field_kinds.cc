#include "control/field_kinds.h"

#include <boost/json.hpp>
#include <charconv>
#include <cmath>
#include <type_traits>

#include "control/network.h"
#include "control/quantities.h"

namespace dormouse::control {
namespace {

using catalog::Manifest;

constexpr std::size_t map_entries_max = 256;
constexpr std::size_t map_value_bytes_max = 32 * 1024;

Error refused(std::string why) {
  return {Code::invalid_argument, std::move(why)};
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
  return std::string("names of ") + field.keys + ", with text" +
         (field.takes_lists ? ", numbers or lists of them" : "") + " as values";
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
  return refused("neither text nor a whole number; in quotes, it is a text");
}

// 0.5 is written as 0.5, not as JSON's own 5E-1.
Result<std::string> scalar_value(const json::value& value) {
  if (!value.is_double()) return map_value(value);
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, value.get_double());
  return std::string(text, end.ptr);
}

Result<std::string> list_value(const json::value& value) {
  if (!value.is_array()) return scalar_value(value);
  std::string texts;
  for (const json::value& entry : value.get_array()) {
    const auto text = scalar_value(entry);
    if (!text) return text;
    texts += (texts.empty() ? "" : ", ") + *text;
  }
  return texts;
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
    auto text = field.takes_lists ? list_value(entry) : map_value(entry);
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
json::value written(const List& field, Manifest& manifest) {
  json::array texts;
  for (const std::string& text : field.at(manifest)) texts.push_back(json::string(text));
  return texts;
}
json::value written(const NetworkReach& field, Manifest& manifest) {
  return network_json(field.at(manifest));
}
}  // namespace

std::string allowed(const Field& field) {
  return std::visit([](const auto& held) { return allowed(held); }, field.holds);
}

std::string_view type(const Field& field) {
  return std::visit([](const auto& held) { return type(held); }, field.holds);
}

Result<> read(const Field& field, const json::value& value, Manifest& manifest) {
  return std::visit([&](const auto& held) { return read(held, value, manifest); }, field.holds);
}

json::value written(const Field& field, Manifest& manifest) {
  return std::visit([&](const auto& held) { return written(held, manifest); }, field.holds);
}

}  // namespace dormouse::control
