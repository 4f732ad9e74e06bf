#include "runtimes/llm/schema.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <vector>

namespace dormouse::llm {
namespace {

namespace json = boost::json;

constexpr std::int64_t times_max = 2000;  // llama.cpp's own bound of what is repeated.

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
constexpr std::string_view annotations[] = {
    "$comment",    "$defs",    "$id",      "$schema", "default", "definitions", "deprecated",
    "description", "examples", "readOnly", "strict",  "title",   "writeOnly"};

bool is_annotation(std::string_view name) {
  return name.starts_with("x-") || std::ranges::find(annotations, name) != std::end(annotations);
}

Error wrong(const std::string& where, std::string_view why) {
  return {Code::invalid_argument, where + ": " + std::string(why)};
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
  Checker(const json::value& root, Holds holds) : root_(root), holds_(holds) {}

  Result<> check(const std::string& where, const json::value& schema);

 private:
  Result<std::uint8_t> kinds(const std::string& where, const json::object&) const;
  Result<> check_keywords(const std::string& where, const json::object&, std::uint8_t kinds) const;
  Result<> check_beside(const std::string& where, const json::object&) const;
  Result<> check_children(const std::string& where, const json::object&);
  Result<> check_all(const std::string& where, const json::value& list);
  Result<> check_named(const std::string& where, const json::value& map);
  Result<> check_reference(const std::string& where, const json::value& to) const;
  Result<> check_array(const std::string& where, const json::object&) const;
  Result<> check_text(const std::string& where, const json::object&) const;
  Result<> check_required(const std::string& where, const json::object&) const;
  Result<> check_range(const std::string& where, const json::object&, std::string_view least,
                       std::string_view most, bool counts) const;

  const json::value& root_;
  const Holds holds_;
};

Result<> Checker::check(const std::string& where, const json::value& schema) {
  if (!schema.is_object()) return wrong(where, "expected an object, which a schema is here");
  const json::object& it = schema.get_object();
  const auto of = kinds(where, it);
  if (!of) return of.error();
  if (holds_ == Holds::all) {
    if (auto good = check_keywords(where, it, *of); !good) return good;
    if (auto good = check_beside(where, it); !good) return good;
  }
  for (const auto step : {&Checker::check_array, &Checker::check_text, &Checker::check_required}) {
    if (auto good = (this->*step)(where, it); !good) return good;
  }
  for (const auto& [least, most] :
       {std::pair("minimum", "maximum"), std::pair("exclusiveMinimum", "exclusiveMaximum")}) {
    if (auto good = check_range(where, it, least, most, false); !good) return good;
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

Result<> Checker::check_children(const std::string& where, const json::object& it) {
  for (const auto& [key, value] : it) {
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

Result<> Checker::check_all(const std::string& where, const json::value& list) {
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
  return ok;
}

Result<> Checker::check_named(const std::string& where, const json::value& map) {
  if (!map.is_object()) return wrong(where, "expected an object of schemas");
  for (const auto& [name, schema] : map.get_object()) {
    if (auto good = check(where + "." + std::string(name), schema); !good) return good;
  }
  return ok;
}

Result<> Checker::check_reference(const std::string& where, const json::value& to) const {
  if (!to.is_string() || !std::string_view(to.get_string()).starts_with("#/")) {
    return not_followed(where, "only \"#/…\" is, a place in the same schema");
  }
  std::string_view rest = std::string_view(to.get_string()).substr(1);
  const json::value* at = &root_;
  while (at != nullptr && !rest.empty()) {
    rest.remove_prefix(1);
    const std::string_view name = rest.substr(0, rest.find('/'));
    rest.remove_prefix(name.size());
    at = at->is_object() ? at->get_object().if_contains(name) : nullptr;
  }
  if (at == nullptr) return wrong(where, "there is no such place in the schema");
  return ok;
}

// A tuple has as many as it names.
Result<> Checker::check_array(const std::string& where, const json::object& it) const {
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

Result<> Checker::check_text(const std::string& where, const json::object& it) const {
  constexpr std::string_view formats[] = {"date",  "time",  "date-time", "uuid", "uuid1",
                                          "uuid2", "uuid3", "uuid4",     "uuid5"};
  const json::value* format = it.if_contains("format");
  const json::value* pattern = it.if_contains("pattern");
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
    if (auto good = check_pattern(pattern->get_string(), holds_); !good) {
      return std::move(good).error().during(where + ".pattern");
    }
  }
  return check_range(where, it, "minLength", "maxLength", true);
}

Result<> Checker::check_required(const std::string& where, const json::object& it) const {
  const json::value* required = it.if_contains("required");
  if (required == nullptr) return ok;
  if (!required->is_array()) return wrong(where + ".required", "expected an array of names");
  const json::value* properties = it.if_contains("properties");
  for (const json::value& name : required->get_array()) {
    if (!name.is_string()) return wrong(where + ".required", "expected an array of names");
    const bool is_there = properties != nullptr && properties->is_object() &&
                          properties->get_object().contains(name.get_string());
    if (!is_there && holds_ == Holds::all) {
      return not_followed(where + ".required",
                          "\"" + std::string(name.get_string()) + "\" is not among the properties");
    }
  }
  return ok;
}

Result<> Checker::check_range(const std::string& where, const json::object& it,
                              std::string_view least, std::string_view most, bool counts) const {
  constexpr double exact = 9'007'199'254'740'992;  // 2^53: what a double counts to.
  std::array<std::optional<double>, 2> ends;
  for (const auto& [i, name] : {std::pair(0, least), std::pair(1, most)}) {
    const json::value* said = it.if_contains(name);
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
    ends[static_cast<std::size_t>(i)] = value;
  }
  if (!ends[0] || !ends[1] || *ends[0] <= *ends[1]) return ok;
  return wrong(where + "." + std::string(most), "is less than " + std::string(least));
}

// Why a pattern cannot be followed. What llama.cpp leaves out, it takes for any text.
struct Problem {
  std::string_view why;
  bool is_left_out = false;
};

class Pattern {
 public:
  explicit Pattern(std::string_view rest) : rest_(rest) {}

  std::optional<Problem> problem() {
    while (!rest_.empty()) {
      if (auto found = next(rest_.front())) return found;
    }
    if (depth_ != 0) return Problem{"a group has no end"};
    return std::nullopt;
  }

 private:
  std::optional<Problem> next(char c) {
    if (c == '[') return set();
    if (c == '{') return counts();
    if (c == '\\') {
      may_repeat_ = true;
      return escape("^$.[]()|{}*+?");
    }
    rest_.remove_prefix(1);
    return c == '(' || c == ')' ? group(c) : plain(c);
  }

  std::optional<Problem> plain(char c) {
    if (c == '^' || c == '$') return Problem{"^ and $ stand only at its ends", true};
    if (c == ']' || c == '}') return Problem{"] and } end nothing there"};
    const bool repeats = c == '*' || c == '+' || c == '?';
    if (repeats && !may_repeat_) {
      return Problem{"there is nothing to repeat, or it is repeated twice"};
    }
    may_repeat_ = !repeats && c != '|';
    return std::nullopt;
  }

  std::optional<Problem> group(char c) {
    constexpr int depth_max = 20;
    may_repeat_ = c == ')';
    depth_ += c == '(' ? 1 : -1;
    if (depth_ < 0) return Problem{"a group ) has no begin"};
    if (depth_ > depth_max) return Problem{"its groups are more than 20 deep"};
    if (c == ')' || !rest_.starts_with('?')) return std::nullopt;
    if (!rest_.starts_with("?:")) return Problem{"of (?…) only (?:…) is followed", true};
    rest_.remove_prefix(2);
    return std::nullopt;
  }

  std::optional<Problem> set() {
    rest_.remove_prefix(1);
    while (!rest_.empty() && rest_.front() != ']') {
      if (rest_.front() != '\\') {
        rest_.remove_prefix(1);
      } else if (auto found = escape("")) {
        return found;
      }
    }
    if (rest_.empty()) return Problem{"a set [ has no end"};
    rest_.remove_prefix(1);
    may_repeat_ = true;
    return std::nullopt;
  }

  std::optional<Problem> counts() {
    const auto end = rest_.find('}');
    if (end == rest_.npos || !may_repeat_) return Problem{"{ counts nothing"};
    const std::string_view said = rest_.substr(1, end - 1);
    rest_.remove_prefix(end + 1);
    may_repeat_ = false;
    const auto comma = std::min(said.find(','), said.size());
    const auto least = count_of(said.substr(0, comma));
    const std::string_view behind = said.substr(std::min(comma + 1, said.size()));
    const auto most = comma == said.size() ? least
                      : behind.empty()     ? std::optional(times_max)
                                           : count_of(behind);
    if (least && most && *least <= *most) return std::nullopt;
    return Problem{"a count is {n}, {n,} or {n,m}, in order, and at most 2000"};
  }

  static std::optional<std::int64_t> count_of(std::string_view digits) {
    constexpr std::size_t digits_max = 4;
    std::int64_t value = 0;
    if (digits.empty() || digits.size() > digits_max) return std::nullopt;
    for (const char c : digits) {
      if (c < '0' || c > '9') return std::nullopt;
      value = value * 10 + (c - '0');
    }
    return value <= times_max ? std::optional(value) : std::nullopt;
  }

  // Of `more`, or what a grammar has itself.
  std::optional<Problem> escape(std::string_view more) {
    constexpr std::string_view own = "trn\\\"[]-";
    const char next = rest_.size() > 1 ? rest_[1] : '\0';
    const std::size_t digits = next == 'x' ? 2 : next == 'u' ? 4 : next == 'U' ? 8 : 0;
    const auto is_hex = [](char c) {
      return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    };
    const std::string_view code = rest_.substr(std::min<std::size_t>(2, rest_.size()), digits);
    const bool is_code = digits > 0 && code.size() == digits && std::ranges::all_of(code, is_hex);
    if (!is_code && (next == '\0' || !(own.contains(next) || more.contains(next)))) {
      return Problem{
          "of \\… marks of patterns, \\t, \\r, \\n, \\x and \\u are followed: write [0-9] "
          "for \\d",
          true};
    }
    rest_.remove_prefix(2 + digits);
    return std::nullopt;
  }

  std::string_view rest_;
  int depth_ = 0;
  bool may_repeat_ = false;
};

}  // namespace

Result<> check_schema(const std::string& where, const json::value& schema, Holds holds) {
  return Checker(schema, holds).check(where, schema);
}

Result<> check_pattern(std::string_view pattern, Holds holds) {
  constexpr std::size_t bytes_max = 1000;
  std::optional<Problem> problem;
  if (pattern.size() < 2 || !pattern.starts_with('^') || !pattern.ends_with('$')) {
    problem = {"only one from ^ to $ is followed", true};
  } else if (pattern.size() > bytes_max) {
    problem = {"it has more than 1000 bytes"};
  } else {
    problem = Pattern(pattern.substr(1, pattern.size() - 2)).problem();
  }
  if (!problem || (problem->is_left_out && holds == Holds::some)) return ok;
  return Error{Code::unsupported, std::string(problem->why)};
}

}  // namespace dormouse::llm
