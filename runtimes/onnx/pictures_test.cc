// What becomes of a picture's bytes, by the codecs themselves: their limits, and the values of
// pixels.
#include "runtimes/onnx/pictures/pictures.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runtimes/onnx/decoder.h"

namespace dormouse::onnx {
namespace {

struct Decoded {
  int outcome;
  std::vector<std::uint8_t> pixels;
};

Decoded decode(std::string_view bytes) {
  dormouse_picture out{};
  const int outcome = dormouse_decode_picture(reinterpret_cast<const std::uint8_t*>(bytes.data()),
                                              bytes.size(), 16'384, 16'000'000, &out);
  const std::unique_ptr<std::uint8_t, Free> owner(out.pixels);
  return {outcome, {out.pixels, out.pixels + std::size_t{3} * out.width * out.height}};
}

// A grey picture of 64x64, progressive: a scan of the means of its blocks, and then `scans` of the
// rest, each of which says in one byte that there is nothing.
std::string jpeg_of_scans(int scans) {
  const auto segment = [](char marker, std::string_view content) {
    const char size = static_cast<char>(content.size() + 2);
    return std::string{'\xff', marker, '\0', size} + std::string(content);
  };
  const auto codes = [](char table, char symbol) {  // A table with one code, "0".
    return std::string{table, 1} + std::string(15, '\0') + symbol;
  };
  std::string file("\xff\xd8");
  file += segment('\xdb', std::string(1, '\0') + std::string(64, '\x01'));
  file += segment('\xc2', std::string_view("\x08\0\x40\0\x40\x01\x01\x11\0", 9));
  file += segment('\xc4', codes('\0', '\0'));
  file += segment('\xc4', codes('\x10', '\x60'));
  file += segment('\xda', std::string_view("\x01\x01\0\0\0\0", 6)) + std::string(8, '\0');
  for (int i = 0; i < scans; ++i) {
    file += segment('\xda', std::string_view("\x01\x01\0\x01\x3f\0", 6)) + '\x01';
  }
  return file + "\xff\xd9";
}

TEST(Jpeg, IsOfAsManyScansAsEncodersMake) {
  const Decoded few = decode(jpeg_of_scans(90));
  EXPECT_EQ(few.outcome, dormouse_picture_decoded);
  EXPECT_EQ(few.pixels, std::vector<std::uint8_t>(std::size_t{64} * 64 * 3, 128));
  EXPECT_EQ(decode(jpeg_of_scans(150)).outcome, dormouse_picture_malformed);
}

}  // namespace
}  // namespace dormouse::onnx
