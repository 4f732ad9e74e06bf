// Pictures become pixels: PNG, JPEG and WebP, in a shared object of their own. Only a worker with a
// picture task loads it, and only inside a sandbox is a stranger's picture decoded.
//
// A photograph comes upright, as its JPEG says it was taken; what is transparent is white.
//
// The interface is C, since it crosses dlopen. Bounded: nothing larger than the limits given is
// decoded, whatever its header says, and nothing is allocated before its header was read.
#pragma once

#include <cstddef>
#include <cstdint>

// Each scan of a progressive JPEG goes over the whole picture, and may be of a dozen bytes: a small
// file would take long. Encoders make about ten.
inline constexpr int jpeg_scans_max = 100;

extern "C" {

struct dormouse_picture {
  std::uint32_t width;
  std::uint32_t height;
  std::uint8_t* pixels;  // Blue, green, red; rows without padding. Freed by the caller with free().
};

enum dormouse_picture_outcome {
  dormouse_picture_decoded = 0,
  dormouse_picture_malformed = 1,
  dormouse_picture_too_large = 2,
  dormouse_picture_unknown = 3,   // Not one of the three, by its first bytes.
  dormouse_picture_too_long = 4,  // A side of it.
  dormouse_picture_cmyk = 5,      // A JPEG for printers.
  dormouse_picture_animated = 6,  // A WebP of several.
};

// `pixels_max` bounds width × height, `side_max` each of them.
int dormouse_decode_picture(const std::uint8_t* bytes, std::size_t size, std::uint32_t side_max,
                            std::uint64_t pixels_max, dormouse_picture* out);
}
