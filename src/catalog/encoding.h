// A draft as bytes, as it lies in the store: docs/formats/catalog.md.
#pragma once

#include <string>
#include <string_view>

#include "catalog/catalog.h"

namespace dormouse::catalog {

std::string encode(const Draft&);
Result<Draft> decode_draft(std::string_view bytes);

// What a revision's digest is taken of: the manifest and the files by path, however they came.
std::string identity(const Draft&);

}  // namespace dormouse::catalog
