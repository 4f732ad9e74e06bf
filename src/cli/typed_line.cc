#include "cli/typed_line.h"

#include <algorithm>

#include "gateway/json.h"

namespace dormouse::cli {
namespace {

using Asks = TypedLine::Asks;

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view blanks = " \t\r";
  const auto begin = text.find_first_not_of(blanks);
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
}

// The first word, which is taken off `text`.
std::string_view take_word(std::string_view& text) {
  const std::string_view word = text.substr(0, text.find_first_of(" \t"));
  text = trimmed(text.substr(word.size()));
  return word;
}

bool is_method(std::string_view word) {
  return std::ranges::find(methods, word) != methods.end();
}

TypedLine with_body(TypedLine line, std::string_view text) {
  (text.starts_with('@') ? line.file : line.body) = text.substr(text.starts_with('@') ? 1 : 0);
  return line;
}

Result<TypedLine> parse_request(std::string_view line) {
  std::string_view rest = line;
  const bool has_method = !line.starts_with('/');
  TypedLine typed{.asks = Asks::call, .method = has_method ? std::string(take_word(rest)) : "GET"};
  typed.path = take_word(rest);
  if (!typed.path.starts_with('/')) {
    return Error{Code::invalid_argument, "a path begins with \"/\", as in " + typed.method + " /"};
  }
  return with_body(std::move(typed), rest);
}

}  // namespace

Result<TypedLine> parse_typed(std::string_view text, bool serves_http) {
  const std::string_view line = trimmed(text);
  std::string_view rest = line;
  const std::string_view word = take_word(rest);
  if (line.empty()) return TypedLine{.asks = Asks::again};
  if (line == "?" || line == "help") return TypedLine{.asks = Asks::help};
  if (line == "quit" || line == "exit") return TypedLine{.asks = Asks::quit};
  if (line == "receipt") return TypedLine{.asks = Asks::receipt};
  if (serves_http && (line.starts_with('/') || is_method(word))) return parse_request(line);
  if (word == "text") return TypedLine{.asks = Asks::call, .body = std::string(rest)};
  if (line.starts_with('@') && line.size() > 1) return with_body({.asks = Asks::call}, line);
  if (gateway::parse_json(line)) return with_body({.asks = Asks::call}, line);
  const bool meant_json = line.front() == '{' || line.front() == '[' || line.front() == '"';
  return Error{Code::invalid_argument, meant_json ? "this is not JSON; `text …` sends it as it is"
                                                  : "not understood; ? says what can be typed"};
}

std::string typed_help(bool serves_http) {
  const std::string requests =
      "  /path                  GET it\n"
      "  POST /path BODY        any method; a body is JSON, or @FILE\n";
  const std::string bodies =
      "  {\"name\": \"you\"}        calls it with this JSON\n"
      "  @picture.png           calls it with what is in this file\n"
      "  text some words        calls it with this text\n";
  return (serves_http ? requests : bodies) +
         "  (an empty line)        the last call again\n"
         "  receipt                what the last call used and cost\n"
         "  quit                   ends; so does Ctrl-C\n";
}

}  // namespace dormouse::cli
