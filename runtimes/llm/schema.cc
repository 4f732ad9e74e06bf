#include "runtimes/llm/schema.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "runtimes/llm/pattern.h"

namespace dormouse::llm {
namespace {

namespace json = boost::json;

enum Kind : std::uint8_t {
  object = 1,
  array = 2,
  string = 4,
  integer = 8,
  number = 16,
  other = 32
};
constexpr std::uint8_t any_kind = 63;

struct Keyword {
  std::string_view name;
  std::uint8_t of;        // The kinds that it says something of; to others it means nothing.
  std::uint8_t followed;  // Those of which a grammar follows it.
};
constexpr Keyword keywords[] = {
    {"type", any_kind, any_kind},
    {"enum", any_kind, any_kind},
    {"const", any_kind, any_kind},
    {"$ref", any_kind, any_kind},
    {"anyOf", any_kind, any_kind},
    {"oneOf", any_kind, any_kind},
    {"allOf", any_kind, object},
    {"not", any_kind, 0},
    {"if", any_kind, 0},
    {"properties", object, object},
    {"required", object, object},
    {"additionalProperties", object, object},
    {"patternProperties", object, 0},
    {"propertyNames", object, 0},
    {"minProperties", object, 0},
    {"maxProperties", object, 0},
    {"dependentRequired", object, 0},
    {"dependentSchemas", object, 0},
    {"items", array, array},
    {"prefixItems", array, array},
    {"minItems", array, array},
    {"maxItems", array, array},
    {"uniqueItems", array, 0},
    {"contains", array, 0},
    {"pattern", string, string},
    {"format", string, string},
    {"minLength", string, string},
    {"maxLength", string, string},
    {"minimum", integer | number, integer},
    {"maximum", integer | number, integer},
    {"exclusiveMinimum", integer | number, integer},
    {"exclusiveMaximum", integer | number, integer},
    {"multipleOf", integer | number, 0},
};
constexpr std::string_view annotations[] = {"$comment", "$defs",       "$id",        "$schema",
                                            "default",  "definitions", "deprecated", "description",
                                            "examples", "readOnly",    "title",      "writeOnly"};

bool is_annotation(std::string_view name) {
  return name.starts_with("x-") || std::ranges::find(annotations, name) != std::end(annotations);
}

Error wrong(const std::string& where, std::string_view why) {
  return {Code::invalid_argument, where + ": " + std::string(why)};
}

// JSON Schema's type, "integer" of 2.0, too.
bool is_of_type(const json::value& value, std::string_view type) {
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_bool();
  if (type == "null") return value.is_null();
  const bool whole = !value.is_double() || std::trunc(value.get_double()) == value.get_double();
  return value.is_number() && (type == "number" || whole);
}

Error not_followed(const std::string& where, std::string_view why) {
  return {Code::unsupported, where + ": " + std::string(why)};
}

std::optional<std::uint8_t> kind_of(std::string_view type) {
  constexpr std::pair<std::string_view, std::uint8_t> types[] = {
      {"object", object}, {"array", array},   {"string", string}, {"integer", integer},
      {"number", number}, {"boolean", other}, {"null", other}};
  const auto* const found =
      std::ranges::find(types, type, &std::pair<std::string_view, std::uint8_t>::first);
  return found == std::end(types) ? std::nullopt : std::optional(found->second);
}

class Checker {
 public:
  Checker(json::value& root, Holds holds) : root_(root), holds_(holds) {}

  Result<> check_whole(const std::string& where);

 private:
  Result<> check(const std::string& where, json::value& schema);
  Result<std::uint8_t> kinds(const std::string& where, const json::object&) const;
  Result<> check_keywords(const std::string& where, const json::object&, std::uint8_t kinds) const;
  Result<> check_beside(const std::string& where, const json::object&) const;
  Result<> check_children(const std::string& where, json::object&);
  Result<> check_all(const std::string& where, json::value& list);
  Result<> check_named(const std::string& where, json::value& map);
  Result<> check_merged(const std::string& where, const json::array& all) const;
  Result<> check_values(const std::string& where, const json::object&) const;
  Result<> check_reference(const std::string& where, const json::value& to);
  json::value* place_of(std::string_view reference) const;
  Result<> check_array(const std::string& where, json::object&) const;
  Result<> check_text(const std::string& where, json::object&) const;
  Result<> check_required(const std::string& where, json::object&) const;
  Result<> check_range(const std::string& where, json::object&, std::string_view least,
                       std::string_view most, bool counts) const;
  Result<> check_integers(const std::string& where, const json::object&) const;

  json::value& root_;
  const Holds holds_;
  // What is referred to, which may lie where no schema is looked for, and from where. Not followed
  // at once: they may lead to each other without end.
  std::set<const json::value*> known_;
  std::vector<std::pair<std::string, json::value*>> to_check_;
};

Result<> Checker::check_whole(const std::string& where) {
  if (auto good = check(where, root_); !good) return good;
  while (!to_check_.empty()) {
    const auto [from, schema] = std::move(to_check_.back());
    to_check_.pop_back();
    if (auto good = check(from, *schema); !good) return good;
  }
  return ok;
}

Result<> Checker::check(const std::string& where, json::value& schema) {
  if (!schema.is_object()) return wrong(where, "expected an object, which a schema is here");
  json::object& it = schema.get_object();
  const auto of = kinds(where, it);
  if (!of) return of.error();
  if (holds_ == Holds::all) {
    if (auto good = check_keywords(where, it, *of); !good) return good;
    if (auto good = check_beside(where, it); !good) return good;
  }
  if (auto good = check_values(where, it); !good) return good;
  for (const auto step : {&Checker::check_array, &Checker::check_text, &Checker::check_required}) {
    if (auto good = (this->*step)(where, it); !good) return good;
  }
  for (const auto& [least, most] :
       {std::pair("minimum", "maximum"), std::pair("exclusiveMinimum", "exclusiveMaximum")}) {
    if (auto good = check_range(where, it, least, most, false); !good) return good;
  }
  if ((*of & (integer | number)) == integer) {
    if (auto good = check_integers(where, it); !good) return good;
  }
  return check_children(where, it);
}

// As its type says, or what else is there.
Result<std::uint8_t> Checker::kinds(const std::string& where, const json::object& it) const {
  const json::value* type = it.if_contains("type");
  if (type == nullptr) {
    if (it.contains("properties") || it.contains("additionalProperties")) return object;
    if (it.contains("allOf")) return object;
    if (it.contains("items") || it.contains("prefixItems")) return array;
    for (const char* of_texts : {"pattern", "format", "minLength", "maxLength"}) {
      if (it.contains(of_texts)) return string;
    }
    return any_kind;
  }
  const json::array types = type->is_array() ? type->get_array() : json::array{*type};
  if (types.empty()) return wrong(where + ".type", "expected at least one");
  std::uint8_t all = 0;
  for (const json::value& each : types) {
    const auto kind = each.is_string() ? kind_of(each.get_string()) : std::nullopt;
    if (!kind) {
      return wrong(where + ".type",
                   "expected object, array, string, integer, number, boolean or null");
    }
    all |= *kind;
  }
  return all;
}

Result<> Checker::check_keywords(const std::string& where, const json::object& it,
                                 std::uint8_t kinds) const {
  for (const auto& [key, value] : it) {
    const std::string_view name(key);
    if (is_annotation(name)) continue;
    const auto* const known = std::ranges::find(keywords, name, &Keyword::name);
    const std::string at = where + "." + std::string(name);
    if (known == std::end(keywords))
      return not_followed(at, "is a keyword that no answer is held to");
    const std::uint8_t meant = known->of & kinds;
    if (kinds == any_kind && known->of == array) {
      return not_followed(at, "only a \"type\" of \"array\" is held to it");
    }
    const bool says_nothing = value.is_bool() && !value.get_bool() && name == "uniqueItems";
    if (meant == 0 || says_nothing || (meant & ~known->followed) == 0) continue;
    if (known->followed == 0) return not_followed(at, "is a keyword that no answer is held to");
    return not_followed(at, known->followed == integer ? "only an \"integer\" is held to it"
                                                       : "only an \"object\" is held to it");
  }
  return ok;
}

// Of some keywords the others beside them are left out.
Result<> Checker::check_beside(const std::string& where, const json::object& it) const {
  for (const char* alone : {"$ref", "anyOf", "oneOf", "const", "enum"}) {
    if (!it.contains(alone)) continue;
    for (const auto& [key, value] : it) {
      const bool has_type = key == "type" && (it.contains("const") || it.contains("enum"));
      if (key == alone || has_type || is_annotation(key)) continue;
      return not_followed(where + "." + std::string(key),
                          "beside \"" + std::string(alone) + "\" no answer is held to it");
    }
  }
  if (it.contains("allOf") && it.contains("properties")) {
    return not_followed(where + ".allOf", "beside \"properties\" no answer is held to it");
  }
  return ok;
}

Result<> Checker::check_children(const std::string& where, json::object& it) {
  for (auto& [key, value] : it) {
    const std::string at = where + "." + std::string(key);
    Result<> good = ok;
    if (key == "properties" || key == "$defs" || key == "definitions") {
      good = check_named(at, value);
    } else if (key == "anyOf" || key == "oneOf" || key == "allOf" || key == "prefixItems") {
      good = check_all(at, value);
    } else if (key == "items") {
      good = value.is_array() ? check_all(at, value) : check(at, value);
    } else if (key == "additionalProperties" && !value.is_bool()) {
      good = check(at, value);
    } else if (key == "$ref") {
      good = check_reference(at, value);
    } else if (key == "enum" && (!value.is_array() || value.get_array().empty())) {
      good = wrong(at, "expected an array of at least one value");
    }
    if (!good) return good;
  }
  return ok;
}

Result<> Checker::check_all(const std::string& where, json::value& list) {
  if (!list.is_array() || list.get_array().empty()) {
    return wrong(where, "expected an array of at least one schema");
  }
  for (std::size_t i = 0; i < list.get_array().size(); ++i) {
    const std::string at = where + "[" + std::to_string(i) + "]";
    if (auto good = check(at, list.get_array()[i]); !good) return good;
    const json::object& each = list.get_array()[i].get_object();
    const bool merges = each.contains("properties") || each.contains("$ref");
    if (where.ends_with(".allOf") && holds_ == Holds::all && !merges) {
      return not_followed(at, "of \"allOf\" only objects with \"properties\" are merged");
    }
  }
  const bool is_merged = where.ends_with(".allOf") && holds_ == Holds::all;
  return is_merged ? check_merged(where, list.get_array()) : ok;
}

// An answer would have a property twice.
Result<> Checker::check_merged(const std::string& where, const json::array& all) const {
  std::set<std::string_view> names;
  for (const json::value& each : all) {
    const json::value* part = &each;
    if (const json::value* to = each.get_object().if_contains("$ref")) {
      part = place_of(to->get_string());
    }
    const json::value* of =
        part->is_object() ? part->get_object().if_contains("properties") : nullptr;
    if (of == nullptr || !of->is_object()) continue;
    for (const auto& [name, schema] : of->get_object()) {
      if (names.insert(name).second) continue;
      return not_followed(where,
                          "\"" + std::string(name) + "\" is in two of them, which are not merged");
    }
  }
  return ok;
}

// What is listed beside a type has to be of it: of an answer only the list is held to.
Result<> Checker::check_values(const std::string& where, const json::object& it) const {
  const json::value* type = it.if_contains("type");
  const json::value* listed = it.if_contains("enum");
  const json::value* only = it.if_contains("const");
  if (type == nullptr || (listed == nullptr && only == nullptr)) return ok;
  const json::array types = type->is_array() ? type->get_array() : json::array{*type};
  const json::array none, values = only != nullptr      ? json::array{*only}
                                   : listed->is_array() ? listed->get_array()
                                                        : none;
  for (const json::value& value : values) {
    const auto is_its = [&](const json::value& each) {
      return is_of_type(value, each.get_string());
    };
    if (std::ranges::any_of(types, is_its)) continue;
    return wrong(where + (only != nullptr ? ".const" : ".enum"),
                 json::serialize(value) + " is not of its \"type\"");
  }
  return ok;
}

Result<> Checker::check_named(const std::string& where, json::value& map) {
  if (!map.is_object()) return wrong(where, "expected an object of schemas");
  for (auto& [name, schema] : map.get_object()) {
    if (name.empty() && holds_ == Holds::all) {
      return not_followed(where, "a name that is empty is not");
    }
    if (auto good = check(where + "." + std::string(name), schema); !good) return good;
  }
  return ok;
}

Result<> Checker::check_reference(const std::string& where, const json::value& to) {
  if (!to.is_string() || !std::string_view(to.get_string()).starts_with("#/")) {
    return not_followed(where, "only \"#/…\" is, a place beneath the schema");
  }
  json::value* const at = place_of(to.get_string());
  if (at == nullptr) return wrong(where, "there is no such place in the schema");
  if (known_.insert(at).second) to_check_.emplace_back(where, at);
  return ok;
}

// As llama.cpp finds it: names as they are, without what JSON Pointers escape. nullptr if nothing
// is there.
json::value* Checker::place_of(std::string_view reference) const {
  std::string_view rest = reference.substr(1);
  json::value* at = &root_;
  while (at != nullptr && !rest.empty()) {
    rest.remove_prefix(1);
    const std::string_view name = rest.substr(0, rest.find('/'));
    rest.remove_prefix(name.size());
    at = at->is_object() ? at->get_object().if_contains(name) : nullptr;
  }
  return at;
}

// A tuple has as many as it names.
Result<> Checker::check_array(const std::string& where, json::object& it) const {
  const json::value* items = it.if_contains("items");
  const json::value* prefix = it.if_contains("prefixItems");
  if (items != nullptr && prefix != nullptr && holds_ == Holds::all) {
    return not_followed(where + ".prefixItems", "beside \"items\" no answer is held to it");
  }
  const json::value* tuple = items != nullptr && items->is_array() ? items : prefix;
  for (const char* count : {"minItems", "maxItems"}) {
    const json::value* said = it.if_contains(count);
    if (tuple == nullptr || said == nullptr || holds_ != Holds::all || !tuple->is_array()) continue;
    if (!said->is_number() ||
        said->to_number<double>() != static_cast<double>(tuple->get_array().size())) {
      return not_followed(where + "." + count, "a tuple has as many items as it names");
    }
  }
  return check_range(where, it, "minItems", "maxItems", true);
}

Result<> Checker::check_text(const std::string& where, json::object& it) const {
  constexpr std::string_view formats[] = {"date",  "time",  "date-time", "uuid", "uuid1",
                                          "uuid2", "uuid3", "uuid4",     "uuid5"};
  const json::value* format = it.if_contains("format");
  json::value* pattern = it.if_contains("pattern");
  if (format != nullptr && holds_ == Holds::all) {
    const bool is_known =
        format->is_string() &&
        std::ranges::find(formats, std::string_view(format->get_string())) != std::end(formats);
    if (!is_known) {
      return not_followed(where + ".format", "only date, time, date-time and uuid are");
    }
  }
  const bool has_length = it.contains("minLength") || it.contains("maxLength");
  if (holds_ == Holds::all && (pattern != nullptr) + (format != nullptr) + has_length > 1) {
    return not_followed(where, "of pattern, format and a length an answer is held to one");
  }
  if (pattern != nullptr && !pattern->is_string()) {
    return wrong(where + ".pattern", "expected a string");
  }
  if (pattern != nullptr) {
    auto followed = followed_pattern(pattern->get_string());
    if (!followed && (holds_ == Holds::all || !followed.error().is_left_out)) {
      return not_followed(where + ".pattern", followed.error().why);
    }
    if (followed) *pattern = *std::move(followed);
  }
  return check_range(where, it, "minLength", "maxLength", true);
}

// A grammar has a rule for each two properties that may be missing.
Result<> Checker::check_required(const std::string& where, json::object& it) const {
  constexpr std::size_t optional_max = 100;
  const json::value* required = it.if_contains("required");
  const json::value* properties = it.if_contains("properties");
  const json::object none;
  const json::object& all =
      properties != nullptr && properties->is_object() ? properties->get_object() : none;
  std::set<std::string_view> needed;
  if (required != nullptr && !required->is_array()) {
    return wrong(where + ".required", "expected an array of names");
  }
  const json::array no_names;
  for (const json::value& name : required != nullptr ? required->get_array() : no_names) {
    if (!name.is_string()) return wrong(where + ".required", "expected an array of names");
    if (all.contains(name.get_string())) {
      needed.insert(name.get_string());
    } else if (holds_ == Holds::all) {
      return not_followed(where + ".required",
                          "\"" + std::string(name.get_string()) + "\" is not among the properties");
    }
  }
  if (all.size() <= needed.size() + optional_max) return ok;
  return wrong(where + ".properties",
               "at most " + std::to_string(optional_max) + " that are not \"required\"");
}

Result<> Checker::check_range(const std::string& where, json::object& it, std::string_view least,
                              std::string_view most, bool counts) const {
  constexpr double exact = 9'007'199'254'740'992;  // 2^53: what a double counts to.
  std::array<std::optional<double>, 2> ends;
  for (const auto& [i, name] : {std::pair(0, least), std::pair(1, most)}) {
    json::value* said = it.if_contains(name);
    if (said == nullptr) continue;
    const std::string at = where + "." + std::string(name);
    if (!said->is_number()) return wrong(at, "expected a number");
    const auto value = said->to_number<double>();
    if (!(value >= -exact && value <= exact)) return wrong(at, "expected at most 2^53, either way");
    if (counts && (value < 0 || value != static_cast<double>(static_cast<std::int64_t>(value)))) {
      return wrong(at, "expected a whole number from 0 on");
    }
    if (counts && value > static_cast<double>(times_max)) {
      return not_followed(at, "an answer is held to at most 2000");
    }
    // llama.cpp reads 2.0 as no whole number.
    if (said->is_double() && std::trunc(value) == value) *said = static_cast<std::int64_t>(value);
    ends[static_cast<std::size_t>(i)] = value;
  }
  if (!ends[0] || !ends[1] || *ends[0] <= *ends[1]) return ok;
  return wrong(where + "." + std::string(most), "is less than " + std::string(least));
}

// Both kinds of bounds together, as whole numbers.
Result<> Checker::check_integers(const std::string& where, const json::object& it) const {
  const auto bound = [&](const char* name) {
    const json::value* said = it.if_contains(name);
    return said == nullptr ? std::optional<double>() : said->to_number<double>();
  };
  const auto least = bound("minimum"), above = bound("exclusiveMinimum");
  const auto most = bound("maximum"), below = bound("exclusiveMaximum");
  if (holds_ == Holds::all && ((least && above) || (most && below))) {
    return not_followed(where,
                        "of minimum and exclusiveMinimum, and of the maxima, an answer is held "
                        "to one");
  }
  const auto from = least   ? std::optional(std::ceil(*least))
                    : above ? std::optional(std::floor(*above) + 1)
                            : std::nullopt;
  const auto to = most    ? std::optional(std::floor(*most))
                  : below ? std::optional(std::ceil(*below) - 1)
                          : std::nullopt;
  if (from && to && *from > *to) return wrong(where, "no whole number is within its bounds");
  return ok;
}

}  // namespace

Result<> check_schema(const std::string& where, json::value& schema, Holds holds) {
  return Checker(schema, holds).check_whole(where);
}

}  // namespace dormouse::llm
