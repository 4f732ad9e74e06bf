// The one table of the manifest's fields: each one's name, kind, bounds and meaning. The defaults
// are those of catalog::Manifest itself. Pure.
#pragma once

#include <span>
#include <string_view>

#include "control/field_kinds.h"

namespace dormouse::control {

std::span<const Field> manifest_fields();

// "python.packages" → "python" and "packages"; of a field that is in no section "" and its name.
std::string_view section_of(const Field&);
std::string_view name_within(const Field&);

}  // namespace dormouse::control
