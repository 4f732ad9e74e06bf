// The first page of a state's file, which says whose it is, and the file's place: names as bytes.
// Pure. docs/formats/conversation.md.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "conversations/shelf.h"

namespace dormouse::conversations {

inline constexpr std::size_t page_bytes = 4096;

// Exactly page_bytes. The names must be of bounded length, as is_name() and the catalog's are.
std::string first_page(const Key&, std::uint64_t size);

// "TENANT/FUNCTION/DIGEST/NAME", the last in base64url.
std::filesystem::path place_of(const Key&);
std::optional<std::string> name_of_file(std::string_view file);

}  // namespace dormouse::conversations
