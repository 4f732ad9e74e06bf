// What somebody types into `dormouse dev`. Pure.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "base/result.h"

namespace dormouse::cli {

// What may be asked of an HTTP server.
inline constexpr std::array<std::string_view, 7> methods{"GET",   "HEAD",   "POST",   "PUT",
                                                         "PATCH", "DELETE", "OPTIONS"};

struct TypedLine {
  enum class Asks { again, call, receipt, help, quit };
  Asks asks = Asks::again;
  // Of a call:
  std::string method = "POST";
  std::string path;  // With its query, of an HTTP server; otherwise empty.
  std::string body;
  std::string file;  // The body is what is in it.
};

// An empty line, a body of JSON, `text WORDS`, `@FILE`, `receipt`, `help`, `quit`; of an HTTP
// server
// (`serves_http`) also `/path` and `METHOD /path [BODY or @FILE]`. invalid_argument says what can
// be typed instead.
Result<TypedLine> parse_typed(std::string_view line, bool serves_http);

std::string typed_help(bool serves_http);

}  // namespace dormouse::cli
