#include "runtimes/executable/error_document.h"

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cstdint>

namespace dormouse::executable {
namespace {

namespace json = boost::json;

constexpr std::size_t raw_bytes_max = 2000;
constexpr std::size_t type_bytes_max = 256;

std::string text_at(const json::value& document, const char* key) {
  const auto* object = document.if_object();
  const auto* value = object == nullptr ? nullptr : object->if_contains(key);
  if (value == nullptr || value->is_null()) return {};
  return value->is_string() ? std::string(value->get_string()) : json::serialize(*value);
}

// What is not known to be UTF-8 must be none of it when it reaches JSON again.
std::string plain(std::string_view raw) {
  std::string text(raw.substr(0, raw_bytes_max));
  std::ranges::replace_if(text, [](char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

int sextet(char c) {
  constexpr std::string_view digits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const auto at = digits.find(c);
  return at == digits.npos ? -1 : static_cast<int>(at);
}

std::string words_of(const std::string& type, const std::string& message) {
  if (type.empty() && message.empty()) return "the function said nothing of its error";
  if (type.empty() || message.empty()) return type + message;
  return type + ": " + message;
}

// With no half of a character at its end.
std::string beginning(const std::string& text) {
  if (text.size() <= type_bytes_max) return text;
  std::size_t end = type_bytes_max;
  while (end > 0 && (text[end] & 0xC0) == 0x80) --end;
  return text.substr(0, end);
}

bool is_json(std::string_view text) {
  boost::system::error_code failure;
  json::parse(text, failure);
  return !failure;
}

// Of one that is too long, the type: the words say the rest. Boost.JSON reads a number that no
// double holds, and writes it as no JSON: of such a one, the type and the message.
std::string document_of(const json::value& parsed, const std::string& type,
                        const std::string& message) {
  json::object document;
  if (parsed.is_object()) document = parsed.get_object();
  if (!type.empty()) document["errorType"] = type;
  std::string text = json::serialize(document);
  if (!is_json(text)) {
    text = json::serialize(json::object{{"errorType", type}, {"errorMessage", message}});
  }
  if (text.size() <= wire::document_bytes_max) return text;
  return json::serialize(json::object{{"errorType", beginning(type)}});
}

}  // namespace

wire::Failure failure_of(std::string_view document, std::string_view type_header) {
  boost::system::error_code failure;
  const json::value parsed = json::parse(document, failure);
  std::string type = failure ? "" : text_at(parsed, "errorType");
  const std::string message = failure ? plain(document) : text_at(parsed, "errorMessage");
  if (type.empty()) type = plain(type_header);
  return {.message = words_of(type, message), .document = document_of(parsed, type, message)};
}

std::string error_document(std::string_view type, std::string_view message) {
  return json::serialize(json::object{{"errorMessage", message}, {"errorType", type}}) + "\n";
}

std::string call_error_document(std::string_view code, std::string_view message) {
  const json::object error{{"code", code}, {"message", message}};
  return json::serialize(json::object{{"error", error}}) + "\n";
}

std::string from_base64(std::string_view text) {
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string bytes;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const int value = sextet(c);
    if (value < 0) return {};
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> count & 0xFF);
  }
  return bytes;
}

}  // namespace dormouse::executable
