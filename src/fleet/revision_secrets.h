// What the processes of a revision are given of its secrets. Each value is read when it is given:
// none is kept with the revision.
//
// Errors   As Secrets::read() has them. function_failed: they do not fit a frame.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "catalog/catalog.h"
#include "secrets/secrets.h"
#include "wire/messages.h"

namespace dormouse::fleet {

using SecretUses = std::map<std::string, catalog::SecretUse>;

// The payload of `load`: the options, and as "env.NAME" all secrets, or of a template those that
// are `init`.
Result<std::string> load_with_secrets(wire::Options, const SecretUses&, const secrets::Secrets&);

// The payload of a fork's `go`: those that are `late`.
Result<std::string> go_with_secrets(const SecretUses&, const secrets::Secrets&);

bool has_late(const SecretUses&);
bool has_init(const SecretUses&);

// The late ones as variables and values, without those that a template has as `init`, too, and
// those that are so short that they may be found anywhere.
inline constexpr std::size_t sought_bytes_min = 16;
std::map<std::string, std::string> not_for_templates(const SecretUses&, const secrets::Secrets&);

// What of them is `init`, as numbers that any set() of one of these changes.
std::vector<std::int64_t> init_versions(const SecretUses&, const secrets::Secrets&);

}  // namespace dormouse::fleet
