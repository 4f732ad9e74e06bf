// What is told of the manifest's fields: its reference page, and its schema. Pure.
#pragma once

#include <string>

#include "gateway/json.h"

namespace dormouse::control {

json::object manifest_schema();  // For the OpenAPI document.
std::string manifest_table();    // Markdown: name, type, default, allowed, meaning.
std::string manifest_page();     // All of docs/reference/manifest.md.

}  // namespace dormouse::control
