// How to call what was deployed, as somebody types it.
//
// Pure: of the revision as the control API tells it, {"manifest": …, "notes": …, "inputs": …}.
#pragma once

#include <string>

#include "cli/shell.h"
#include "gateway/json.h"

namespace dormouse::cli {

// "FP32 [-1, 3]", of {"datatype": …, "shape": …}.
std::string shape_of(const json::value& tensor);

// Where it is called; of a web function with the slash that relative links of its pages need.
std::string url_of(const Shell&, const std::string& name, const json::value& revision);

// "Try it: …", with a line for curl that this function may understand, or what to fill in.
std::string example_call(const Shell&, const std::string& name, const json::value& revision);

}  // namespace dormouse::cli
