// What JSON values have to be, and the errors of those that are not. Pure.
//
// Errors  invalid_argument, unsupported or too_large; the message begins with the field, and says
//         what is expected.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "runtimes/llm/request.h"

namespace dormouse::llm {

using Field = std::string_view;
using Value = const boost::json::value&;

boost::json::parse_options parsing();  // Of a body, and of what is kept of it.

// too_large: more than values_max. All its numbers are finite, and so can be written again.
Result<boost::json::value> parsed(std::string_view body);

Error refused(Field, std::string_view why);
Error not_done(Field, std::string_view why);

Result<double> number(Field, Value, std::int64_t least, std::int64_t most);
Result<std::int64_t> whole(Field, Value, std::int64_t least, std::int64_t most);
Result<bool> flag(Field, Value);
Result<std::string> text(Field, Value);
// A string, an array of strings, an array of tokens, or an array of arrays of tokens.
Result<std::vector<Text>> texts(Field, Value);

}  // namespace dormouse::llm
