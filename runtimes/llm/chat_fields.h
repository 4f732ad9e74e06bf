// The fields of a request that only a chat has: what was said, which tools there are, what the
// answer has to look like. Pure; errors as request.h says.
#pragma once

#include "runtimes/llm/json_values.h"

namespace dormouse::llm {

Result<> read_messages(Request&, Field, Value);
Result<> read_response_format(Request&, Field, Value);
Result<> read_tools(Request&, Field, Value);
Result<> read_tool_choice(Request&, Field, Value);  // After the tools.

}  // namespace dormouse::llm
