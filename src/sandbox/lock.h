// A folder's one owner, and a name's. It must outlast the killing of an owner before it: a child
// that was between fork and exec has that one's files, its lock among them, for a moment longer.
#pragma once

#include <filesystem>
#include <string_view>

#include "base/result.h"
#include "wire/socket.h"

namespace dormouse::sandbox {

// Makes or opens the file and locks it for as long as the descriptor lives, however the process
// ends. Waits up to a second for a holder that is just dying; `conflict` if it lives on. Blocks.
Result<wire::Descriptor> take_lock(const std::filesystem::path& file);

// Takes a name for as long as the descriptor lives: of all processes in this network namespace one
// has it. As patient, and as plain about a holder that lives on. Blocks.
Result<wire::Descriptor> take_name(std::string_view name);

}  // namespace dormouse::sandbox
