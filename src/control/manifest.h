// What a user declares about a function: JSON ↔ catalog::Manifest. Pure.
//
// The table of manifest_fields.h says what there is: reading, writing and every error come from it.
#pragma once

#include "base/result.h"
#include "catalog/catalog.h"
#include "gateway/json.h"

namespace dormouse::control {

// invalid_argument names the field, what was given and what is allowed.
Result<catalog::Manifest> read_manifest(const json::value&);

json::object manifest_json(const catalog::Manifest&);  // Every field, defaults included.

}  // namespace dormouse::control
