// The manifest's field `secrets`: which environment variable gets which secret, and when.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/result.h"
#include "catalog/catalog.h"
#include "gateway/json.h"

namespace dormouse::control {

using SecretUses = std::map<std::string, catalog::SecretUse>;  // By variable.

bool is_variable(std::string_view name);

// `{"API_KEY": "late", "TOKEN": {"secret": "their-token", "when": "init"}}`, at most 256 of them.
// An Error (invalid_argument) names the variable, and repeats nothing that may be the secret
// itself.
Result<SecretUses> read_secret_uses(const json::value&);
json::object secret_uses_json(const SecretUses&);

// With the rest of the manifest: that there is code to read them, and no variable set twice.
Result<> check_secret_uses(const catalog::Manifest&);

}  // namespace dormouse::control
