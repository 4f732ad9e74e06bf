#include "runtimes/llm/json_values.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace dormouse::llm {
namespace {

namespace json = boost::json;

Result<std::vector<Token>> tokens(std::string_view field, const json::array& given) {
  std::vector<Token> tokens;
  for (const json::value& value : given) {
    const auto token = whole(field, value, 0, std::numeric_limits<Token>::max());
    if (!token) return token.error();
    tokens.push_back(static_cast<Token>(*token));
  }
  return tokens;
}

// At most so many values, by the marks before them.
std::size_t values_at_most(std::string_view text) {
  std::size_t count = 1;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string && c == '\\') {
      ++i;
    } else if (c == '"') {
      in_string = !in_string;
    } else if (!in_string) {
      count += c == ',' || c == '[' || c == '{' ? 1 : 0;
    }
  }
  return count;
}

// Boost.JSON reads what no double holds as an infinity, and 0e434 as NaN; it would write either as
// no JSON. The zero becomes one.
bool has_finite_numbers(json::value& value) {
  if (double* const number = value.if_double()) {
    if (std::isnan(*number)) *number = 0;
    return std::isfinite(*number);
  }
  if (json::array* const array = value.if_array()) {
    return std::ranges::all_of(*array, has_finite_numbers);
  }
  json::object* const object = value.if_object();
  return object == nullptr || std::ranges::all_of(*object, [](json::key_value_pair& member) {
           return has_finite_numbers(member.value());
         });
}

}  // namespace

json::parse_options parsing() {
  json::parse_options options;
  options.max_depth = 64;
  return options;
}

Result<json::value> parsed(std::string_view body) {
  if (body.size() > values_max && values_at_most(body) > values_max) {
    return Error{Code::too_large,
                 "body: more than " + std::to_string(values_max) +
                     " values, of which each token of a prompt or an input is one; send less at a "
                     "time, or text"};
  }
  boost::system::error_code failure;
  json::value value = json::parse(body, failure, {}, parsing());
  if (failure) return refused("body", "is not JSON: " + failure.message());
  if (!has_finite_numbers(value)) return refused("body", "has a number that is too large");
  return value;
}

Error refused(std::string_view field, std::string_view why) {
  return {Code::invalid_argument, std::string(field) + ": " + std::string(why)};
}
Error not_done(std::string_view field, std::string_view why) {
  return {Code::unsupported, std::string(field) + ": " + std::string(why)};
}

Result<double> number(std::string_view field, const json::value& value, std::int64_t least,
                      std::int64_t most) {
  const std::string range =
      "expected a number from " + std::to_string(least) + " to " + std::to_string(most);
  if (!value.is_number()) return refused(field, range);
  const double given = value.to_number<double>();
  const bool within = given >= static_cast<double>(least) && given <= static_cast<double>(most);
  if (!within) return refused(field, range);
  return given;
}

Result<std::int64_t> whole(std::string_view field, const json::value& value, std::int64_t least,
                           std::int64_t most) {
  boost::system::error_code inexact;
  const auto given = value.to_number<std::int64_t>(inexact);
  if (!inexact && given >= least && given <= most) return given;
  return refused(field, "expected a whole number from " + std::to_string(least) + " to " +
                            std::to_string(most));
}

Result<bool> flag(std::string_view field, const json::value& value) {
  if (!value.is_bool()) return refused(field, "expected true or false");
  return value.get_bool();
}

Result<std::string> text(std::string_view field, const json::value& value) {
  if (!value.is_string()) return refused(field, "expected a string");
  return std::string(value.get_string());
}

Result<std::vector<Text>> texts(std::string_view field, const json::value& value) {
  constexpr std::string_view forms =
      "expected a string, an array of strings, an array of tokens, or an array of those";
  std::vector<Text> texts;
  if (value.is_string()) {
    texts.emplace_back(std::string(value.get_string()));
    return texts;
  }
  if (!value.is_array()) return refused(field, forms);
  const json::array& array = value.get_array();
  if (array.empty()) return refused(field, "is empty");
  if (array.front().is_number()) {
    auto all = tokens(field, array);
    if (!all) return std::move(all).error();
    texts.emplace_back(std::move(*all));
    return texts;
  }
  if (array.size() > texts_max) {
    return refused(field, "at most " + std::to_string(texts_max) + " at a time");
  }
  for (const json::value& element : array) {
    if (element.is_string()) {
      texts.emplace_back(std::string(element.get_string()));
    } else if (element.is_array()) {
      auto one = tokens(field, element.get_array());
      if (!one) return std::move(one).error();
      texts.emplace_back(std::move(*one));
    } else {
      return refused(field, forms);
    }
  }
  return texts;
}

}  // namespace dormouse::llm
