// Resizing, compared with Pillow's: the values are what testdata/resized.py prints.
#include "runtimes/onnx/resample.h"

#include <gtest/gtest.h>

#include "runtimes/onnx/drawn_picture.h"

namespace dormouse::onnx {
namespace {

TEST(Resample, GivesWhatPillowGives) {
  const struct {
    Extent size, wanted;
    Filter filter;
    std::vector<int> values;  // Red, green, blue.
  } rows[] = {
      {{7, 5},
       {3, 2},
       Filter::bilinear,
       {68, 139, 164, 122, 148, 126, 153, 111, 128, 169, 83, 108, 136, 102, 130, 130, 129, 92}},
      {{7, 5},
       {3, 2},
       Filter::bicubic,
       {57, 142, 167, 124, 153, 124, 156, 107, 128, 178, 80, 103, 132, 101, 132, 129, 131, 89}},
      {{7, 5}, {9, 2}, Filter::bilinear, {59,  130, 155, 64,  135, 160, 75,  146, 171, 95,  153,
                                          168, 122, 135, 113, 151, 173, 88,  162, 116, 110, 155,
                                          83,  139, 136, 126, 151, 177, 74,  99,  182, 79,  104,
                                          157, 90,  115, 132, 97,  132, 159, 79,  150, 115, 117,
                                          125, 106, 156, 94,  130, 142, 82,  173, 70,  95}},
      {{2, 2}, {3, 3}, Filter::bilinear, {0,  83,  166, 4,  87,  170, 7,  90,  173,
                                          30, 113, 196, 34, 117, 200, 37, 120, 203,
                                          59, 142, 225, 63, 146, 229, 66, 149, 232}},
      {{2, 2}, {3, 3}, Filter::bicubic, {0,  79,  162, 0,  83,  166, 3,  86,  169,
                                         30, 113, 196, 34, 117, 200, 37, 120, 203,
                                         63, 146, 229, 67, 150, 233, 70, 153, 236}},
      {{40, 30}, {1, 2}, Filter::bilinear, {128, 128, 126, 128, 127, 126}},
      {{5, 1},
       {5, 1},
       Filter::bicubic,
       {0, 83, 166, 7, 90, 173, 28, 111, 194, 63, 146, 229, 112, 195, 22}},
  };
  for (const auto& row : rows) {
    const DrawnPicture drawn(row.size);
    const auto values = resample(
        drawn.picture(), {whole(row.size), row.wanted.width, row.wanted.height, row.filter});
    // Pillow rounds to whole values twice.
    expect_near_rgb(values, row.values, 1.01);
  }
}

TEST(Resample, TakesOnlyTheNearestWithoutAntialiasing) {
  const DrawnPicture drawn({40, 4});
  const Resampling sparse{{0, 0, 40, 4}, 4, 4, Filter::bilinear, false};
  const auto values = resample(drawn.picture(), sparse);
  // In the middle between the 5th and the 6th of ten pixels: x of 4 and 5, red is x²·7.
  EXPECT_NEAR(values[2], (4 * 4 * 7 + 5 * 5 * 7) / 2.0, 0.01);
}

TEST(Resample, KeepsOneColourWhateverTheSizes) {
  for (const Extent size : {Extent{1, 1}, {1, 16'384}, {16'384, 1}, {300, 2}, {17, 23}}) {
    const std::vector<std::uint8_t> grey(std::size_t{3} * size.width * size.height, 77);
    for (const Filter filter : {Filter::bilinear, Filter::bicubic}) {
      for (const Resize resize : {Resize::stretch, Resize::crop, Resize::pad}) {
        const Framing framing = frame(size, {5, 7}, resize, 0.3);
        const auto values = resample({size.width, size.height, grey},
                                     {framing.part, framing.width, framing.height, filter});
        ASSERT_EQ(values.size(), std::size_t{3} * framing.width * framing.height);
        for (const float value : values) ASSERT_NEAR(value, 77, 1e-3);
      }
    }
  }
}

}  // namespace
}  // namespace dormouse::onnx
