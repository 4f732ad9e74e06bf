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
#include "runtimes/llm/schema_keywords.h"

namespace dormouse::llm {
namespace {

namespace json = boost::json;

// What is wrong with a schema, and the keywords without which it would not be.
struct Complaint {
  Error error;
  std::vector<std::string> keywords;
};
using Complaints = std::optional<Complaint>;  // nullopt: none.

Complaint wrong(const std::string& where, const std::string& keyword, const std::string& why) {
  return {{Code::invalid_argument, where + "." + keyword + ": " + why}, {keyword}};
}

Complaint not_followed(const std::string& where, const std::string& keyword,
                       const std::string& why) {
  return {{Code::unsupported, where + "." + keyword + ": " + why}, {keyword}};
}

Error no_schema(const std::string& where) {
  return {Code::invalid_argument, where + ": expected an object, which a schema is here"};
}

json::array types_of(const json::object& it) {
  const json::value* type = it.if_contains("type");
  if (type == nullptr) return {};
  return type->is_array() ? type->get_array() : json::array{*type};
}

class Checker {
 public:
  Checker(json::value& root, Holds holds) : root_(root), holds_(holds) {}

  Result<> check_whole(const std::string& where);
  bool has_dropped() const { return has_dropped_; }

 private:
  // Says one thing at a time against a schema without what is beneath it.
  using Step = Complaints (Checker::*)(const std::string& where, json::object&);

  Result<> check(const std::string& where, json::value& schema);
  Result<> settle(Step, const std::string& where, json::object&);
  Result<> check_children(const std::string& where, json::object&);
  Result<> check_all(const std::string& where, json::value& list);
  Result<> check_named(const std::string& where, json::value& map);

  Complaints check_type(const std::string& where, json::object&);
  Complaints check_keywords(const std::string& where, json::object&);
  Complaints check_beside(const std::string& where, json::object&);
  Complaints check_values(const std::string& where, json::object&);
  Complaints check_array(const std::string& where, json::object&);
  Complaints check_text(const std::string& where, json::object&);
  Complaints check_required(const std::string& where, json::object&);
  Complaints check_ranges(const std::string& where, json::object&);
  Complaints check_integers(const std::string& where, json::object&);
  Complaints check_shapes(const std::string& where, json::object&);
  Complaints check_merged(const std::string& where, json::object&);

  Complaints check_shape(const std::string& where, const std::string& key, const json::value&);
  Complaints check_reference(const std::string& where, const json::value& to);
  json::value* place_of(std::string_view reference) const;

  json::value& root_;
  const Holds holds_;
  bool has_dropped_ = false;
  // What is referred to, which may lie where no schema is looked for, and from where. Not followed
  // at once: they may lead to each other without end.
  std::set<std::string> known_;
  std::vector<std::pair<std::string, std::string>> to_check_;
};

Result<> Checker::check_whole(const std::string& where) {
  if (!root_.is_object()) return no_schema(where);
  if (auto good = check(where, root_); !good) return good;
  while (!to_check_.empty()) {
    const auto [from, reference] = std::move(to_check_.back());
    to_check_.pop_back();
    json::value* const schema = place_of(reference);
    if (schema == nullptr) continue;  // It was dropped meanwhile.
    if (auto good = check(from, *schema); !good) return good;
  }
  return ok;
}

Result<> Checker::check(const std::string& where, json::value& schema) {
  if (!schema.is_object()) {
    if (holds_ == Holds::all) return no_schema(where);
    schema = json::object();
    has_dropped_ = true;
  }
  json::object& it = schema.get_object();
  for (const Step step :
       {&Checker::check_type, &Checker::check_keywords, &Checker::check_beside,
        &Checker::check_values, &Checker::check_array, &Checker::check_text,
        &Checker::check_required, &Checker::check_ranges, &Checker::check_integers,
        &Checker::check_shapes, &Checker::check_merged}) {
    if (auto good = settle(step, where, it); !good) return good;
  }
  return check_children(where, it);
}

// Where nothing has to be held, the keywords that are complained of are left out.
Result<> Checker::settle(Step step, const std::string& where, json::object& it) {
  while (auto complaint = (this->*step)(where, it)) {
    if (holds_ == Holds::all) return std::move(complaint->error);
    for (const std::string& keyword : complaint->keywords) it.erase(keyword);
    has_dropped_ = true;
  }
  return ok;
}

Complaints Checker::check_type(const std::string& where, json::object& it) {
  const json::array types = types_of(it);
  if (types.empty() && it.contains("type")) return wrong(where, "type", "expected at least one");
  const auto is_known = [](const json::value& each) {
    return each.is_string() && kind_of(each.get_string());
  };
  if (std::ranges::all_of(types, is_known)) return std::nullopt;
  return wrong(where, "type", "expected object, array, string, integer, number, boolean or null");
}

// As its type says, or what else is there.
std::uint8_t kinds(const json::object& it) {
  std::uint8_t all = 0;
  for (const json::value& each : types_of(it)) all |= *kind_of(each.get_string());
  if (all != 0) return all;
  for (const char* of_objects : {"properties", "additionalProperties", "allOf"}) {
    if (it.contains(of_objects)) return kind::object;
  }
  if (it.contains("items") || it.contains("prefixItems")) return kind::array;
  for (const char* of_texts : {"pattern", "format", "minLength", "maxLength"}) {
    if (it.contains(of_texts)) return kind::string;
  }
  return kind::any;
}

Complaints Checker::check_keywords(const std::string& where, json::object& it) {
  if (holds_ == Holds::some) return std::nullopt;
  const std::uint8_t its = kinds(it);
  for (const auto& [key, value] : it) {
    const std::string name(key);
    if (is_annotation(name)) continue;
    const Keyword* const known = keyword(name);
    if (known == nullptr || (known->followed == 0 && (known->of & its) != 0)) {
      const bool says_nothing = name == "uniqueItems" && value.is_bool() && !value.get_bool();
      if (says_nothing) continue;
      return not_followed(where, name, "is a keyword that no answer is held to");
    }
    if (its == kind::any && known->of == kind::array) {
      return not_followed(where, name, "only a \"type\" of \"array\" is held to it");
    }
    if ((known->of & its & ~known->followed) == 0) continue;
    return not_followed(where, name,
                        known->followed == kind::integer ? "only an \"integer\" is held to it"
                                                         : "only an \"object\" is held to it");
  }
  return std::nullopt;
}

// Of some keywords the others beside them are left out.
Complaints Checker::check_beside(const std::string& where, json::object& it) {
  if (holds_ == Holds::some) return std::nullopt;
  for (const char* alone : {"$ref", "anyOf", "oneOf", "const", "enum"}) {
    if (!it.contains(alone)) continue;
    for (const auto& [key, value] : it) {
      const bool has_type = key == "type" && (it.contains("const") || it.contains("enum"));
      if (key == alone || has_type || is_annotation(key)) continue;
      return not_followed(where, key,
                          "beside \"" + std::string(alone) + "\" no answer is held to it");
    }
  }
  if (!it.contains("allOf") || !it.contains("properties")) return std::nullopt;
  return not_followed(where, "allOf", "beside \"properties\" no answer is held to it");
}

// What is listed beside a type has to be of it: of an answer only the list is held to.
Complaints Checker::check_values(const std::string& where, json::object& it) {
  const json::array types = types_of(it);
  const json::value* listed = it.if_contains("enum");
  const json::value* only = it.if_contains("const");
  if (types.empty() || (listed == nullptr && only == nullptr)) return std::nullopt;
  const json::array none, values = only != nullptr      ? json::array{*only}
                                   : listed->is_array() ? listed->get_array()
                                                        : none;
  for (const json::value& value : values) {
    const auto is_its = [&](const json::value& each) {
      return is_of_type(value, each.get_string());
    };
    if (std::ranges::any_of(types, is_its)) continue;
    Complaint complaint = wrong(where, only != nullptr ? "const" : "enum",
                                json::serialize(value) + " is not of its \"type\"");
    complaint.keywords = {"type"};  // The list says more.
    return complaint;
  }
  return std::nullopt;
}

// A tuple has as many as it names.
Complaints Checker::check_array(const std::string& where, json::object& it) {
  if (holds_ == Holds::some) return std::nullopt;
  const json::value* items = it.if_contains("items");
  const json::value* prefix = it.if_contains("prefixItems");
  if (items != nullptr && prefix != nullptr) {
    return not_followed(where, "prefixItems", "beside \"items\" no answer is held to it");
  }
  const json::value* tuple = items != nullptr && items->is_array() ? items : prefix;
  if (tuple == nullptr || !tuple->is_array()) return std::nullopt;
  for (const char* count : {"minItems", "maxItems"}) {
    const json::value* said = it.if_contains(count);
    if (said == nullptr) continue;
    if (!said->is_number() ||
        said->to_number<double>() != static_cast<double>(tuple->get_array().size())) {
      return not_followed(where, count, "a tuple has as many items as it names");
    }
  }
  return std::nullopt;
}

Complaints Checker::check_text(const std::string& where, json::object& it) {
  constexpr std::string_view formats[] = {"date",  "time",  "date-time", "uuid", "uuid1",
                                          "uuid2", "uuid3", "uuid4",     "uuid5"};
  const json::value* format = it.if_contains("format");
  json::value* pattern = it.if_contains("pattern");
  const bool held = holds_ == Holds::all;
  const bool is_known =
      format != nullptr && format->is_string() &&
      (!held ||
       std::ranges::find(formats, std::string_view(format->get_string())) != std::end(formats));
  if (format != nullptr && !is_known) {
    return not_followed(where, "format", "only date, time, date-time and uuid are");
  }
  const bool has_length = it.contains("minLength") || it.contains("maxLength");
  if (held && (pattern != nullptr) + (format != nullptr) + has_length > 1) {
    return Complaint{
        {Code::unsupported, where + ": of pattern, format and a length an answer is held to one"},
        {}};
  }
  if (pattern == nullptr) return std::nullopt;
  if (!pattern->is_string()) return wrong(where, "pattern", "expected a string");
  auto followed = followed_pattern(pattern->get_string());
  if (!followed && (held || !followed.error().is_left_out)) {
    return not_followed(where, "pattern", std::string(followed.error().why));
  }
  if (followed) *pattern = *std::move(followed);
  return std::nullopt;
}

// A grammar has a rule for each two properties that may be missing.
Complaints Checker::check_required(const std::string& where, json::object& it) {
  constexpr std::size_t optional_max = 100;
  const json::value* required = it.if_contains("required");
  const json::value* properties = it.if_contains("properties");
  const json::object none;
  const json::object& all =
      properties != nullptr && properties->is_object() ? properties->get_object() : none;
  std::set<std::string_view> needed;
  if (required != nullptr && !required->is_array()) {
    return wrong(where, "required", "expected an array of names");
  }
  const json::array no_names;
  for (const json::value& name : required != nullptr ? required->get_array() : no_names) {
    if (!name.is_string()) return wrong(where, "required", "expected an array of names");
    if (all.contains(name.get_string())) {
      needed.insert(name.get_string());
    } else if (holds_ == Holds::all) {
      return not_followed(where, "required",
                          "\"" + std::string(name.get_string()) + "\" is not among the properties");
    }
  }
  if (all.size() <= needed.size() + optional_max) return std::nullopt;
  Complaint complaint =
      wrong(where, "properties",
            "at most " + std::to_string(optional_max) + " that are not \"required\"");
  complaint.keywords = {"properties", "required", "additionalProperties"};
  return complaint;
}

Complaints check_range(const std::string& where, json::object& it, const std::string& least,
                       const std::string& most, bool counts) {
  constexpr double exact = 9'007'199'254'740'992;  // 2^53: what a double counts to.
  std::array<std::optional<double>, 2> ends;
  for (const auto& [i, name] : {std::pair(0, least), std::pair(1, most)}) {
    json::value* said = it.if_contains(name);
    if (said == nullptr) continue;
    if (!said->is_number()) return wrong(where, name, "expected a number");
    const auto value = said->to_number<double>();
    if (!(value >= -exact && value <= exact)) {
      return wrong(where, name, "expected at most 2^53, either way");
    }
    if (counts && (value < 0 || value != static_cast<double>(static_cast<std::int64_t>(value)))) {
      return wrong(where, name, "expected a whole number from 0 on");
    }
    if (counts && value > static_cast<double>(times_max)) {
      return not_followed(where, name, "an answer is held to at most 2000");
    }
    // llama.cpp reads 2.0 as no whole number.
    if (said->is_double() && std::trunc(value) == value) *said = static_cast<std::int64_t>(value);
    ends[static_cast<std::size_t>(i)] = value;
  }
  if (!ends[0] || !ends[1] || *ends[0] <= *ends[1]) return std::nullopt;
  Complaint complaint = wrong(where, most, "is less than " + least);
  complaint.keywords.push_back(least);
  return complaint;
}

Complaints Checker::check_ranges(const std::string& where, json::object& it) {
  for (const char* what : {"Items", "Length"}) {
    auto complaint =
        check_range(where, it, std::string("min") + what, std::string("max") + what, true);
    if (complaint) return complaint;
  }
  if (auto complaint = check_range(where, it, "minimum", "maximum", false)) return complaint;
  return check_range(where, it, "exclusiveMinimum", "exclusiveMaximum", false);
}

// Both kinds of bounds together, as whole numbers.
Complaints Checker::check_integers(const std::string& where, json::object& it) {
  if ((kinds(it) & (kind::integer | kind::number)) != kind::integer) return std::nullopt;
  const auto bound = [&](const char* name) {
    const json::value* said = it.if_contains(name);
    return said == nullptr ? std::optional<double>() : said->to_number<double>();
  };
  const auto least = bound("minimum"), above = bound("exclusiveMinimum");
  const auto most = bound("maximum"), below = bound("exclusiveMaximum");
  if (holds_ == Holds::all && ((least && above) || (most && below))) {
    return Complaint{{Code::unsupported,
                      where + ": of minimum and exclusiveMinimum, and of the maxima, an answer "
                              "is held to one"},
                     {}};
  }
  const auto from = least   ? std::optional(std::ceil(*least))
                    : above ? std::optional(std::floor(*above) + 1)
                            : std::nullopt;
  const auto to = most    ? std::optional(std::floor(*most))
                  : below ? std::optional(std::ceil(*below) - 1)
                          : std::nullopt;
  if (!from || !to || *from <= *to) return std::nullopt;
  return Complaint{{Code::invalid_argument, where + ": no whole number is within its bounds"},
                   {"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"}};
}

Complaints Checker::check_shapes(const std::string& where, json::object& it) {
  for (const auto& [key, value] : it) {
    if (auto complaint = check_shape(where, key, value)) return complaint;
  }
  return std::nullopt;
}

// What is to hold schemas, or values, holds some.
Complaints Checker::check_shape(const std::string& where, const std::string& key,
                                const json::value& value) {
  const bool lists = value.is_array() && !value.get_array().empty();
  if (key == "$ref") return check_reference(where, value);
  if (key == "enum" && !lists) {
    return wrong(where, key, "expected an array of at least one value");
  }
  const bool may_list = key == "items" && value.is_array();
  if (may_list || key == "anyOf" || key == "oneOf" || key == "allOf" || key == "prefixItems") {
    if (lists) return std::nullopt;
    return wrong(where, key, "expected an array of at least one schema");
  }
  if (key != "properties" && key != "$defs" && key != "definitions") return std::nullopt;
  if (!value.is_object()) {
    Complaint complaint = wrong(where, key, "expected an object of schemas");
    if (key == "properties") complaint.keywords.emplace_back("additionalProperties");
    return complaint;
  }
  if (holds_ == Holds::some || !value.get_object().contains("")) return std::nullopt;
  return not_followed(where, key, "a name that is empty is not");
}

Complaints Checker::check_reference(const std::string& where, const json::value& to) {
  if (!to.is_string() || !std::string_view(to.get_string()).starts_with("#/")) {
    return not_followed(where, "$ref", "only \"#/…\" is, a place beneath the schema");
  }
  const std::string reference(to.get_string());
  if (place_of(reference) == nullptr) {
    return wrong(where, "$ref", "there is no such place in the schema");
  }
  if (known_.insert(reference).second) to_check_.emplace_back(where + ".$ref", reference);
  return std::nullopt;
}

// As llama.cpp finds it: names as they are, without what JSON Pointers escape. nullptr if nothing
// is there.
json::value* Checker::place_of(std::string_view reference) const {
  if (!reference.starts_with("#/")) return nullptr;
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

// Of `allOf`: an answer would have a property twice.
Complaints Checker::check_merged(const std::string& where, json::object& it) {
  const json::value* all = it.if_contains("allOf");
  if (holds_ == Holds::some || all == nullptr) return std::nullopt;
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < all->get_array().size(); ++i) {
    const json::value* part = &all->get_array()[i];
    if (!part->is_object()) continue;
    const json::value* to = part->get_object().if_contains("$ref");
    if (to == nullptr && !part->get_object().contains("properties")) {
      return not_followed(where, "allOf[" + std::to_string(i) + "]",
                          "of \"allOf\" only objects with \"properties\" are merged");
    }
    if (to != nullptr) part = to->is_string() ? place_of(to->get_string()) : nullptr;
    const json::value* of = part != nullptr && part->is_object()
                                ? part->get_object().if_contains("properties")
                                : nullptr;
    if (of == nullptr || !of->is_object()) continue;
    for (const auto& [name, schema] : of->get_object()) {
      if (names.insert(name).second) continue;
      return not_followed(where, "allOf",
                          "\"" + std::string(name) + "\" is in two of them, which are not merged");
    }
  }
  return std::nullopt;
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
    }
    if (!good) return good;
  }
  return ok;
}

Result<> Checker::check_all(const std::string& where, json::value& list) {
  for (std::size_t i = 0; i < list.get_array().size(); ++i) {
    auto good = check(where + "[" + std::to_string(i) + "]", list.get_array()[i]);
    if (!good) return good;
  }
  return ok;
}

Result<> Checker::check_named(const std::string& where, json::value& map) {
  for (auto& [name, schema] : map.get_object()) {
    if (auto good = check(where + "." + std::string(name), schema); !good) return good;
  }
  return ok;
}

}  // namespace

Result<> check_schema(const std::string& where, json::value& schema, Holds holds) {
  Checker checker(schema, holds);
  auto good = checker.check_whole(where);
  if (!good || !checker.has_dropped()) return good;
  // What was left out may be what another place refers to.
  Checker again(schema, holds);
  good = again.check_whole(where);
  if (good && again.has_dropped()) schema = {{"type", "object"}};
  return good;
}

}  // namespace dormouse::llm
