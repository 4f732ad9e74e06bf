#include "gateway/event_stream.h"

#include <array>

#include "base/check.h"

namespace dormouse::gateway {
namespace {

constexpr std::array<std::uint32_t, 256> crc_table = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < table.size(); ++byte) {
    std::uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ ((value & 1) != 0 ? 0xEDB88320u : 0u);
    table[byte] = value;
  }
  return table;
}();

template <class T>
void put_big_endian(std::string& out, T value) {
  for (int shift = 8 * (static_cast<int>(sizeof(T)) - 1); shift >= 0; shift -= 8) {
    out += static_cast<char>(value >> shift & 0xFF);
  }
}

}  // namespace

std::uint32_t crc32(std::string_view bytes) {
  std::uint32_t crc = ~0u;
  for (const char c : bytes)
    crc = crc >> 8 ^ crc_table[(crc ^ static_cast<unsigned char>(c)) & 0xFF];
  return ~crc;
}

std::string event_message(std::span<const EventHeader> headers, std::string_view payload) {
  constexpr std::size_t frame_bytes = 16, name_bytes_max = 255, value_bytes_max = 0x7FFF;
  constexpr char type_text = 7;
  CHECK(payload.size() <= event_payload_bytes_max);
  std::string head;
  for (const auto& [name, value] : headers) {
    CHECK(name.size() <= name_bytes_max && value.size() <= value_bytes_max);
    head += static_cast<char>(name.size());
    head.append(name) += type_text;
    put_big_endian(head, static_cast<std::uint16_t>(value.size()));
    head += value;
  }
  std::string message;
  message.reserve(frame_bytes + head.size() + payload.size());
  put_big_endian(message, static_cast<std::uint32_t>(frame_bytes + head.size() + payload.size()));
  put_big_endian(message, static_cast<std::uint32_t>(head.size()));
  put_big_endian(message, crc32(message));
  message.append(head).append(payload);
  put_big_endian(message, crc32(message));
  return message;
}

}  // namespace dormouse::gateway
