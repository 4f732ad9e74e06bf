#include "wire/frame.h"

#include "base/bytes.h"

namespace dormouse::wire {
namespace {

constexpr int count_shift = 12;
constexpr std::uint16_t flags_mask = (1 << count_shift) - 1;

}  // namespace

void append_frame(std::string& out, Type type, std::uint16_t flags, std::uint64_t handle,
                  std::string_view payload, std::size_t descriptors) {
  CHECK(payload.size() <= payload_bytes_max && descriptors <= descriptors_max);
  put(out, static_cast<std::uint32_t>(payload.size()));
  put(out, static_cast<std::uint16_t>(type));
  put(out, static_cast<std::uint16_t>((flags & flags_mask) | descriptors << count_shift));
  put(out, handle);
  out.append(payload);
}

Result<Header> parse_header(std::string_view raw) {
  CHECK(raw.size() == header_size);
  Reader reader(raw);
  Header header;
  header.length = reader.get<std::uint32_t>();
  const auto type = reader.get<std::uint16_t>();
  const auto flags = reader.get<std::uint16_t>();
  header.flags = flags & flags_mask;
  header.descriptors = static_cast<std::uint8_t>(flags >> count_shift);
  header.handle = reader.get<std::uint64_t>();
  if (header.length > payload_bytes_max) {
    return Error{Code::invalid_argument,
                 "a frame of " + std::to_string(header.length) + " bytes exceeds 64 KiB"};
  }
  if (type < static_cast<std::uint16_t>(Type::hello) ||
      type > static_cast<std::uint16_t>(Type::context)) {
    return Error{Code::invalid_argument, "unknown frame type " + std::to_string(type)};
  }
  if (header.descriptors > descriptors_max) {
    return Error{Code::invalid_argument, "more descriptors than a frame may carry"};
  }
  header.type = static_cast<Type>(type);
  return header;
}

}  // namespace dormouse::wire
