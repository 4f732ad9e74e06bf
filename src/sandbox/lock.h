// A folder's one owner. It must outlast the killing of an owner before it: a child that was between
// fork and exec has that one's files, its lock among them, for a moment longer.
#pragma once

#include <filesystem>

#include "base/result.h"
#include "wire/socket.h"

namespace dormouse::sandbox {

// Makes or opens the file and locks it for as long as the descriptor lives, however the process
// ends. Waits up to a second for a holder that is just dying; `conflict` if it lives on. Blocks.
Result<wire::Descriptor> take_lock(const std::filesystem::path& file);

}  // namespace dormouse::sandbox
