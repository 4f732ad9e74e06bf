#include "runtimes/llm/schema_keywords.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace dormouse::llm {
namespace {

namespace json = boost::json;

using namespace kind;

constexpr Keyword keywords[] = {
    {"type", any, any},
    {"enum", any, any},
    {"const", any, any},
    {"$ref", any, any},
    {"anyOf", any, any},
    {"oneOf", any, any},
    {"allOf", any, object},
    {"not", any, 0},
    {"if", any, 0},
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

}  // namespace

const Keyword* keyword(std::string_view name) {
  const auto* const found = std::ranges::find(keywords, name, &Keyword::name);
  return found == std::end(keywords) ? nullptr : found;
}

bool is_annotation(std::string_view name) {
  return name.starts_with("x-") || std::ranges::find(annotations, name) != std::end(annotations);
}

bool is_of_type(const json::value& value, std::string_view type) {
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_bool();
  if (type == "null") return value.is_null();
  const bool whole = !value.is_double() || std::trunc(value.get_double()) == value.get_double();
  return value.is_number() && (type == "number" || whole);
}

std::optional<std::uint8_t> kind_of(std::string_view type) {
  constexpr std::pair<std::string_view, std::uint8_t> types[] = {
      {"object", object}, {"array", array},   {"string", string}, {"integer", integer},
      {"number", number}, {"boolean", other}, {"null", other}};
  const auto* const found =
      std::ranges::find(types, type, &std::pair<std::string_view, std::uint8_t>::first);
  return found == std::end(types) ? std::nullopt : std::optional(found->second);
}

}  // namespace dormouse::llm
