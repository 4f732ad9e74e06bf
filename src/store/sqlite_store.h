// How a store is opened, with what only tests vary.
#pragma once

#include "store/store.h"

namespace dormouse::store {

// What the product uses is `full`. `normal` does not sync a commit and so loses some in a power
// cut: the negative control of the tests that prove that `full` does not.
enum class Sync { full, normal };

Result<std::unique_ptr<Store>> open_with(const std::filesystem::path& file,
                                         std::span<const Migration> migrations, Sync sync);

}  // namespace dormouse::store
