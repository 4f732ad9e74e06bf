#include "gateway/json.h"

#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/value_stack.hpp>
#include <charconv>
#include <cmath>
#include <optional>
#include <unordered_set>
#include <vector>

#include "async/turns.h"

namespace dormouse::gateway {
namespace {

using Failure = json::error_code;

// The nearest double: Boost.JSON's own may be off in its last digit, and is NaN of 0e434. Of what
// no double holds, and is written as no number again, none.
std::optional<double> nearest(std::string_view text, double roughly) {
  double number = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failure == std::errc()) return number;
  if (std::isfinite(roughly)) return roughly;  // Too small for one.
  return std::nullopt;
}

// Builds the value as Boost.JSON's own parser does, and counts while doing so.
class Builder {
 public:
  static constexpr std::size_t max_object_size = json::object::max_size();
  static constexpr std::size_t max_array_size = json::array::max_size();
  static constexpr std::size_t max_key_size = json::string::max_size();
  static constexpr std::size_t max_string_size = json::string::max_size();

  explicit Builder(const JsonLimits& limits) : limits_(limits) { stack_.reset(); }

  json::value release() { return stack_.release(); }
  const std::string& why() const { return why_; }

  bool on_document_begin(Failure&) { return true; }
  bool on_document_end(Failure&) { return true; }
  bool on_array_begin(Failure& failure) { return count(failure); }
  bool on_object_begin(Failure& failure) {
    keys_.emplace_back();
    return count(failure);
  }
  bool on_object_end(std::size_t size, Failure&) {
    keys_.pop_back();
    stack_.push_object(size);
    return true;
  }
  bool on_array_end(std::size_t size, Failure&) {
    stack_.push_array(size);
    return true;
  }
  bool on_key_part(json::string_view part, std::size_t, Failure&) {
    key_.append(part.data(), part.size());
    stack_.push_chars(part);
    return true;
  }
  bool on_key(json::string_view part, std::size_t, Failure& failure) {
    key_.append(part.data(), part.size());
    auto& keys = keys_.back();
    if (keys.size() >= limits_.keys_max) return refuse(failure, "an object with too many keys");
    const bool fresh = keys.insert(std::move(key_)).second;
    key_.clear();
    if (!fresh) return refuse(failure, "a key that is there twice");
    stack_.push_key(part);
    return true;
  }
  bool on_string_part(json::string_view part, std::size_t, Failure&) {
    stack_.push_chars(part);
    return true;
  }
  bool on_string(json::string_view part, std::size_t, Failure& failure) {
    stack_.push_string(part);
    return count(failure);
  }
  bool on_number_part(json::string_view, Failure& failure) {
    return refuse(failure, "an incomplete number");
  }
  bool on_int64(std::int64_t number, json::string_view text, Failure& failure) {
    stack_.push_int64(number);
    return count_number(text, failure);
  }
  bool on_uint64(std::uint64_t number, json::string_view text, Failure& failure) {
    stack_.push_uint64(number);
    return count_number(text, failure);
  }
  bool on_double(double roughly, json::string_view text, Failure& failure) {
    const auto number = nearest(text, roughly);
    if (!number) return refuse(failure, "a number that is too large");
    stack_.push_double(*number);
    return count_number(text, failure);
  }
  bool on_bool(bool value, Failure& failure) {
    stack_.push_bool(value);
    return count(failure);
  }
  bool on_null(Failure& failure) {
    stack_.push_null();
    return count(failure);
  }
  bool on_comment_part(json::string_view, Failure&) { return true; }
  bool on_comment(json::string_view, Failure&) { return true; }

 private:
  bool refuse(Failure& failure, const char* why) {
    why_ = why;
    failure = json::error::syntax;
    return false;
  }
  bool count(Failure& failure) {
    async::computed(1);
    return ++values_ <= limits_.values_max || refuse(failure, "too many values");
  }
  bool count_number(json::string_view text, Failure& failure) {
    if (text.size() > limits_.number_bytes_max) return refuse(failure, "a number that is too long");
    return count(failure);
  }

  const JsonLimits limits_;
  json::value_stack stack_;
  std::vector<std::unordered_set<std::string>> keys_;  // Of each object that is open.
  std::string key_;
  std::size_t values_ = 0;
  std::string why_;
};

}  // namespace

Result<json::value> parse_json(std::string_view text, const JsonLimits& limits) {
  json::parse_options options;
  options.max_depth = limits.depth_max;
  json::basic_parser<Builder> parser(options, limits);
  Failure failure;
  const std::size_t read = parser.write_some(false, text.data(), text.size(), failure);
  if (!failure && read < text.size()) failure = json::error::extra_data;
  if (!failure) return parser.handler().release();
  std::string why = parser.handler().why();
  if (why.empty()) why = failure.message();
  return Error{Code::invalid_argument,
               "not acceptable JSON: " + why + " at byte " + std::to_string(read)};
}

}  // namespace dormouse::gateway
