#include "runtimes/onnx/pictures/orientation.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace {

// TIFF's header and one directory, in either order of bytes.
std::string exif(bool little, unsigned tag, unsigned type, unsigned value, unsigned directory = 8) {
  std::string bytes = little ? std::string("II*\0", 4) : std::string("MM\0*", 4);
  const auto put = [&](unsigned number, int size) {
    for (int i = 0; i < size; ++i) {
      const int shift = 8 * (little ? i : size - 1 - i);
      bytes += static_cast<char>(number >> shift & 0xff);
    }
  };
  put(directory, 4);
  put(2, 2);  // Entries.
  for (const unsigned which : {0x010fu, tag}) {
    put(which, 2);
    put(which == tag ? type : 2, 2);
    put(1, 4);
    put(value, 2);
    put(0, 2);
  }
  return bytes;
}

TEST(Orientation, IsReadInEitherOrderOfBytes) {
  for (const bool little : {true, false}) {
    for (unsigned value = 1; value <= 8; ++value) {
      EXPECT_EQ(picture_orientation(exif(little, 0x0112, 3, value)), value);
    }
    EXPECT_EQ(picture_orientation(exif(little, 0x0112, 3, 0)), 1u);
    EXPECT_EQ(picture_orientation(exif(little, 0x0112, 3, 9)), 1u);
    EXPECT_EQ(picture_orientation(exif(little, 0x0112, 4, 6)), 1u);
    EXPECT_EQ(picture_orientation(exif(little, 0x0113, 3, 6)), 1u);
    EXPECT_EQ(picture_orientation(exif(little, 0x0112, 3, 6, 0xffffffff)), 1u);
  }
}

// Whatever is damaged is upright, and nothing is read beyond the end.
TEST(Orientation, IsUprightIfItIsDamaged) {
  const std::string whole = exif(true, 0x0112, 3, 6);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const std::string part = whole.substr(0, size);
    EXPECT_EQ(picture_orientation(part), 1u) << size;
  }
  std::mt19937 random(3);
  for (int round = 0; round < 20'000; ++round) {
    std::string garbage = whole;
    for (int i = 0; i < 4; ++i) garbage[random() % garbage.size()] = static_cast<char>(random());
    const unsigned orientation = picture_orientation(garbage);
    ASSERT_TRUE(orientation >= 1 && orientation <= 8);
  }
}

// EXIF says where the first row and the first column of what was taken belong.
TEST(Orientation, TurnsAPictureUpright) {
  const std::string taken = "abcdef";  // abc above def.
  const char* const upright[] = {"abcdef", "cbafed", "fedcba", "defabc",
                                 "adbecf", "daebfc", "fcebda", "cfbead"};
  for (unsigned orientation = 1; orientation <= 8; ++orientation) {
    const PictureTurn turn{orientation};
    const PictureSide size = turn.swaps_sides() ? PictureSide{2, 3} : PictureSide{3, 2};
    std::string turned;
    for (std::size_t y = 0; y < size.height; ++y) {
      for (std::size_t x = 0; x < size.width; ++x) turned += taken[turn.source(x, y, size)];
    }
    EXPECT_EQ(turned, upright[orientation - 1]) << orientation;
  }
}

}  // namespace
