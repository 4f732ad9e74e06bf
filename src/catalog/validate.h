// What a draft must be like before it may become a revision.
#pragma once

#include "catalog/catalog.h"

namespace dormouse::catalog {

bool is_function_name(std::string_view);
bool is_file_path(std::string_view);  // Relative, "/"-separated, no empty, "." or ".." part.

// invalid_argument, naming what is wrong.
Result<> validate(const Draft&);

}  // namespace dormouse::catalog
