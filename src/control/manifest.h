// What a user declares about a function: JSON ↔ catalog::Manifest. Pure.
//
// One table of fields says each field's name, type, bounds and meaning; the defaults are those of
// catalog::Manifest itself. Reading, writing, every error and the reference page come from it.
#pragma once

#include <boost/json/value.hpp>
#include <string>

#include "base/result.h"
#include "catalog/catalog.h"
#include "gateway/json.h"

namespace dormouse::control {

// invalid_argument names the field, what was given and what is allowed.
Result<catalog::Manifest> read_manifest(const json::value&);

json::object manifest_json(const catalog::Manifest&);  // Every field, defaults included.

json::object manifest_schema();  // For the OpenAPI document.
std::string manifest_table();    //  Markdown: name, type, default, allowed, meaning.
std::string manifest_page();     // All of docs/reference/manifest.md.

// Relative, "/"-separated, no empty element, "." or "..", no control character or backslash, UTF-8,
// at most 255 bytes an element and 1024 in all; and not beginning with ".dormouse/", which is the
// platform's. What a file of a revision may be called.
Result<> check_path(std::string_view path);

}  // namespace dormouse::control
