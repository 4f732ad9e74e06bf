// What becomes of a picture's bytes, by the codecs themselves: their limits, and the values of
// pixels.
#include "runtimes/onnx/pictures/pictures.h"

#include <gtest/gtest.h>
#include <png.h>
#include <webp/encode.h>

#include <cmath>
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

// A pixel for each alpha, black and in colours.
std::vector<std::uint8_t> ramp_of_alpha() {
  std::vector<std::uint8_t> bgra;
  for (unsigned i = 0; i < 512; ++i) {
    const auto value = [&](unsigned step) { return static_cast<std::uint8_t>(i / 256 * i * step); };
    bgra.insert(bgra.end(), {value(1), value(3), value(7), static_cast<std::uint8_t>(i)});
  }
  return bgra;
}

std::string as_png(const std::vector<std::uint8_t>& pixels, std::uint32_t width,
                   std::uint32_t height, png_uint_32 format) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = width;
  image.height = height;
  image.format = format;
  png_alloc_size_t size = 0;
  png_image_write_to_memory(&image, nullptr, &size, 0, pixels.data(), 0, nullptr);
  std::string file(size, '\0');
  EXPECT_NE(png_image_write_to_memory(&image, file.data(), &size, 0, pixels.data(), 0, nullptr), 0);
  file.resize(size);
  return file;
}

std::string as_webp(const std::vector<std::uint8_t>& bgra, int width, int height) {
  std::uint8_t* file = nullptr;
  const std::size_t size = WebPEncodeLosslessBGRA(bgra.data(), width, height, 4 * width, &file);
  const std::string copy(reinterpret_cast<const char*>(file), size);
  WebPFree(file);
  return copy;
}

TEST(Transparency, IsMixedWithWhiteByTheValuesAsTheyAre) {
  const auto bgra = ramp_of_alpha();
  std::vector<std::uint8_t> wanted;
  for (std::size_t i = 0; i < bgra.size(); i += 4) {
    for (std::size_t channel = 0; channel < 3; ++channel) {
      const double alpha = bgra[i + 3] / 255.0;
      wanted.push_back(
          static_cast<std::uint8_t>(std::lround(alpha * bgra[i + channel] + (1 - alpha) * 255)));
    }
  }
  const Decoded png = decode(as_png(bgra, 32, 16, PNG_FORMAT_BGRA));
  EXPECT_EQ(png.outcome, dormouse_picture_decoded);
  EXPECT_EQ(png.pixels, wanted);
  // WebP drops the colour of what nobody sees, which is white then, too.
  EXPECT_EQ(decode(as_webp(bgra, 32, 16)).pixels, wanted);
}

TEST(Png, HasTheValuesThatItWasSavedWithWhateverItsGamma) {
  std::vector<std::uint8_t> bgr;
  for (int i = 0; i < 768; ++i) bgr.push_back(static_cast<std::uint8_t>(i * 5));
  std::string png = as_png(bgr, 16, 16, PNG_FORMAT_BGR);
  EXPECT_EQ(decode(png).pixels, bgr);
  constexpr std::size_t header_end = 8 + 25;
  const std::size_t srgb = png.find("sRGB");  // What goes before gAMA, if it is there.
  if (srgb != png.npos) png.erase(srgb - 4, 13);
  const std::string gamma("\0\0\0\x04gAMA\0\x01\x86\xa0\x31\xe8\x96\x5f", 16);
  ASSERT_EQ(png.find("gAMA"), png.npos);
  png.insert(header_end, gamma);
  const Decoded linear = decode(png);
  EXPECT_EQ(linear.outcome, dormouse_picture_decoded);
  EXPECT_EQ(linear.pixels, bgr);
}

TEST(Size, IsBoundByPixelsAndBySides) {
  const struct {
    std::uint32_t width, height;
    int outcome;
  } rows[] = {
      {16'384, 1, dormouse_picture_decoded},
      {16'385, 1, dormouse_picture_too_long},
      {1, 16'385, dormouse_picture_too_long},
      {4'000, 4'001, dormouse_picture_too_large},
  };
  for (const auto& row : rows) {
    const std::vector<std::uint8_t> black(std::size_t{row.width} * row.height);
    const std::string png = as_png(black, row.width, row.height, PNG_FORMAT_GRAY);
    EXPECT_EQ(decode(png).outcome, row.outcome) << row.width << "x" << row.height;
  }
}

TEST(Jpeg, IsOfAsManyScansAsEncodersMake) {
  const Decoded few = decode(jpeg_of_scans(90));
  EXPECT_EQ(few.outcome, dormouse_picture_decoded);
  EXPECT_EQ(few.pixels, std::vector<std::uint8_t>(std::size_t{64} * 64 * 3, 128));
  EXPECT_EQ(decode(jpeg_of_scans(150)).outcome, dormouse_picture_malformed);
}

}  // namespace
}  // namespace dormouse::onnx
