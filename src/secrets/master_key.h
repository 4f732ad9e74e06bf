// The file of the master key: 32 random bytes that only its owner can read.
//
// Errors   conflict, in words that say what to do: others can read it, or it is no such key.
//          unavailable: the disk.
#pragma once

#include <filesystem>

#include "base/result.h"
#include "secrets/seal.h"

namespace dormouse::secrets {

Result<MasterKey> read_key(const std::filesystem::path& file);

// When it returns the file is durable, and whole: a crash leaves it so, or not there. What a crash
// left half-way (FILE.new) is begun anew.
Result<MasterKey> make_key(const std::filesystem::path& file);

}  // namespace dormouse::secrets
