// How a photograph is to be turned to be upright: cameras write it down (EXIF) rather than turn the
// pixels. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

// What EXIF calls the orientation, 1 to 8; 1, upright, of bytes that do not say, whatever they are.
// They begin with a TIFF header.
inline unsigned picture_orientation(std::string_view exif) {
  const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(exif[at]); };
  const auto fits = [&](std::uint64_t at, std::size_t size) {
    return at <= exif.size() && exif.size() - at >= size;
  };
  constexpr std::size_t header = 8, entry = 12;
  constexpr unsigned orientation_tag = 0x0112, short_type = 3;
  if (!fits(0, header)) return 1;
  const bool little = exif.starts_with(std::string_view("II*\0", 4));
  if (!little && !exif.starts_with(std::string_view("MM\0*", 4))) return 1;
  const auto half = [&](std::size_t at) -> unsigned {
    return little ? byte(at) | byte(at + 1) << 8 : byte(at) << 8 | byte(at + 1);
  };
  const std::uint64_t low = half(little ? 4 : 6), high = half(little ? 6 : 4);
  const std::uint64_t directory = high << 16 | low;
  if (!fits(directory, 2)) return 1;
  const unsigned entries = half(directory);
  for (unsigned i = 0; i < entries; ++i) {
    const std::uint64_t at = directory + 2 + std::uint64_t{i} * entry;
    if (!fits(at, entry)) return 1;
    if (half(at) != orientation_tag || half(at + 2) != short_type) continue;
    const unsigned orientation = half(at + 8);
    return orientation >= 1 && orientation <= 8 ? orientation : 1;
  }
  return 1;
}

struct PictureSide {
  std::uint32_t width, height;
};

// Where a pixel of the upright picture, whose size is `upright`, lies in the one that was taken.
struct PictureTurn {
  unsigned orientation;
  bool swaps_sides() const { return orientation >= 5; }
  std::size_t source(std::size_t x, std::size_t y, PictureSide upright) const {
    const std::size_t right = upright.width - 1 - x, below = upright.height - 1 - y;
    const std::size_t width = swaps_sides() ? upright.height : upright.width;
    switch (orientation) {
      case 2: return y * width + right;
      case 3: return below * width + right;
      case 4: return below * width + x;
      case 5: return x * width + y;
      case 6: return right * width + y;
      case 7: return right * width + below;
      case 8: return x * width + below;
      default: return y * width + x;
    }
  }
};
