#include "cli/yaml.h"

#include "base/utf8.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <boost/json.hpp>
#include <charconv>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

namespace dormouse::cli {
namespace {

constexpr std::size_t text_bytes_max = 1 << 20;
constexpr std::size_t depth_max = 32;

std::string at_line(const YAML::Mark& mark) {
  return "line " + std::to_string(mark.line + 1);
}

bool only(std::string_view text, std::string_view letters) {
  return !text.empty() && text.find_first_not_of(letters) == text.npos;
}

// A number of the core schema: -?[0-9]+ or one with a fraction or an exponent. What a number would
// not be written as again is text: a postcode of 01234.
json::value plain_scalar(const std::string& text) {
  if (text.empty() || text == "~" || text == "null") return nullptr;
  if (text == "true") return true;
  if (text == "false") return false;
  const std::string_view digits = std::string_view(text).substr(text.starts_with('-') ? 1 : 0);
  const char* end = text.data() + text.size();
  if (only(digits, "0123456789")) {
    std::int64_t number = 0;
    const auto read = std::from_chars(text.data(), end, number);
    if (read.ec == std::errc() && read.ptr == end && std::to_string(number) == text) return number;
    return json::string(text);
  }
  if (only(digits, "0123456789.eE+-") && digits[0] >= '0' && digits[0] <= '9') {
    double number = 0;
    const auto read = std::from_chars(text.data(), end, number);
    if (read.ec == std::errc() && read.ptr == end) return number;
  }
  return json::string(text);
}

// Builds from the parser's events, so that nothing is expanded and nothing is there before it was
// counted. The first thing that it refuses is kept, and what follows is passed over.
class Builder final : public YAML::EventHandler {
 public:
  Result<json::value> take() {
    if (refusal_) return *refusal_;
    return std::move(root_);
  }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse_anchor(mark, anchor);
    add(mark, nullptr);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    return refuse(mark, "aliases are not allowed");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    refuse_anchor(mark, anchor);
    if (tag == "?") return add(mark, plain_scalar(text), text);
    if (tag == "!") return add(mark, json::string(text), text);
    return refuse(mark, "tags are not allowed");
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    refuse_anchor(mark, anchor);
    open(mark, tag, json::array());
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    refuse_anchor(mark, anchor);
    open(mark, tag, json::object());
  }
  void OnMapEnd() override { close(); }

 private:
  struct Level {
    json::value value;
    std::string key;
    bool has_key = false;
    YAML::Mark mark;
  };

  void refuse(const YAML::Mark& mark, const std::string& why) {
    if (!refusal_) refusal_ = Error{Code::invalid_argument, at_line(mark) + ": " + why};
  }
  void refuse_anchor(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor != YAML::NullAnchor) refuse(mark, "anchors are not allowed");
  }
  void open(const YAML::Mark& mark, const std::string& tag, json::value value) {
    if (refusal_) return;
    if (!tag.empty() && tag != "?" && tag != "!") {
      return refuse(mark, "tags are not allowed");
    }
    if (levels_.size() >= depth_max) return refuse(mark, "nested too deeply");
    levels_.push_back({std::move(value), {}, false, mark});
  }
  void close() {
    if (refusal_) return;  // Levels are not kept any more.
    Level level = std::move(levels_.back());
    levels_.pop_back();
    add(level.mark, std::move(level.value));
  }
  void add(const YAML::Mark& mark, json::value value, const std::string& text = {}) {
    if (refusal_) return;
    if (levels_.empty()) {
      root_ = std::move(value);
      return;
    }
    Level& level = levels_.back();
    if (level.value.is_array()) {
      level.value.get_array().push_back(std::move(value));
    } else if (!level.has_key) {
      take_key(mark, value, text, level);
    } else {
      level.value.get_object()[level.key] = std::move(value);
      level.has_key = false;
    }
  }
  void take_key(const YAML::Mark& mark, const json::value& value, const std::string& text,
                Level& level) {
    if (value.is_structured() || text.empty()) {
      return refuse(mark, "a key must be plain text");
    }
    if (level.value.get_object().contains(text)) {
      return refuse(mark, "\"" + text.substr(0, 100) + "\" is there twice");
    }
    level.key = text;
    level.has_key = true;
  }

  std::vector<Level> levels_;
  std::optional<Error> refusal_;
  json::value root_;
};

}  // namespace

Result<json::value> parse_yaml(std::string_view text) {
  if (text.size() > text_bytes_max) return Error{Code::too_large, "YAML of more than 1 MiB"};
  if (valid_utf8(text) != text) return Error{Code::invalid_argument, "not UTF-8"};
  Builder builder;
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(builder)) return json::value(json::object());
    if (parser.HandleNextDocument(builder)) {
      return Error{Code::invalid_argument, "more than one YAML document"};
    }
  } catch (const YAML::Exception& failure) {
    return Error{Code::invalid_argument, at_line(failure.mark) + ": " + failure.msg};
  } catch (const std::exception& failure) {
    return Error{Code::invalid_argument, std::string("not YAML: ") + failure.what()};
  }
  auto value = builder.take();
  if (value && value->is_null()) return json::value(json::object());
  return value;
}

}  // namespace dormouse::cli
