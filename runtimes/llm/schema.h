// Which JSON schemas an answer can be held to: those of which llama.cpp follows every word. Pure.
//
// llama.cpp makes a grammar of a schema, and leaves out without a word what it does not know: an
// answer would not be what was asked for. A range that is none, or a pattern that repeats from 5 to
// 2 times, makes it take memory without end.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <string>

#include "base/result.h"

namespace dormouse::llm {

enum class Holds : std::uint8_t {
  all,   // Every keyword has to be followed.
  some,  // It is a hint for the model, as in the parameters of a tool. Keywords that no grammar
         // can be made of are left out.
};

// `where` begins each error: "response_format.json_schema.schema". invalid_argument: it is no
// schema; unsupported: it is one, and cannot be followed; both name the place and the keyword. Of a
// hint only what is no object is refused.
// Patterns and whole numbers are written as llama.cpp follows them.
Result<> check_schema(const std::string& where, boost::json::value& schema, Holds);

}  // namespace dormouse::llm
