// Messages of application/vnd.amazon.eventstream, in which AWS streams answers. Pure.
//
//   total length, headers' length, CRC-32 of both │ headers │ payload │ CRC-32 of all before
//
// All numbers are big-endian.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace dormouse::gateway {

using EventHeader = std::pair<std::string_view, std::string_view>;  // Name and value, a text.

// What is left of a message for its payload, whatever its headers are.
inline constexpr std::size_t event_payload_bytes_max = 1 << 20;

std::string event_message(std::span<const EventHeader>, std::string_view payload);

std::uint32_t crc32(std::string_view);  // IEEE 802.3's.

}  // namespace dormouse::gateway
