// What a user declares about a function: JSON ↔ catalog::Manifest. Pure.
//
// The table of manifest_fields.h says what there is: reading, writing and every error come from it.
#pragma once

#include <string_view>

#include "base/result.h"
#include "catalog/catalog.h"
#include "gateway/json.h"

namespace dormouse::control {

// invalid_argument names the field, what was given and what is allowed. `model` has a default.
Result<catalog::Manifest> read_manifest(const json::value&);

// What comes with the program: models, which have no code, and of those the language models.
bool runs_models(std::string_view runtime);
bool runs_language_models(std::string_view runtime);

json::object manifest_json(const catalog::Manifest&);  // Every field, defaults included.

}  // namespace dormouse::control
