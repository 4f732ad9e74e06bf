// How pictures are brought to a model's size; crops compared with torchvision's way by Pillow,
// whose values testdata/resized.py prints.
#include "runtimes/onnx/framing.h"

#include <gtest/gtest.h>

#include "runtimes/onnx/drawn_picture.h"
#include "runtimes/onnx/picture_tensor.h"

namespace dormouse::onnx {
namespace {

TEST(Framing, CropsAsTorchvisionDoes) {
  const struct {
    Extent size, wanted;
    std::vector<int> values;
  } rows[] = {
      {{20, 10}, {3, 3}, {143, 115, 131, 131, 127, 128, 117, 141, 112, 129, 134, 117, 119, 129,
                          130, 118, 125, 138, 127, 131, 120, 120, 120, 131, 140, 116, 130}},
      {{9, 16}, {4, 4}, {108, 141, 130, 115, 157, 104, 127, 128, 116, 136, 128, 118,
                         156, 132, 106, 129, 112, 148, 114, 137, 136, 137, 132, 107,
                         97,  152, 162, 131, 145, 124, 150, 114, 139, 116, 144, 131,
                         152, 105, 128, 111, 116, 145, 139, 117, 120, 130, 123, 144}},
      {{8, 8}, {3, 3}, {79,  137, 156, 135, 139, 120, 142, 124, 135, 147, 93,  127, 124, 126,
                        115, 124, 115, 117, 120, 166, 92,  128, 134, 113, 126, 128, 114}},
  };
  for (const auto& row : rows) {
    const DrawnPicture drawn(row.size);
    const Framing framing = frame(row.size, row.wanted, Resize::crop, 0.875);
    expect_near_rgb(resample(drawn.picture(), {framing.part, framing.width, framing.height}),
                    row.values, 1.01);
  }
}

TEST(Framing, StretchesOrPadsAllOfIt) {
  const Framing stretched = frame({30, 10}, {8, 8}, Resize::stretch, 1);
  EXPECT_EQ(stretched.part.right, 30);
  EXPECT_EQ(stretched.width, 8u);
  EXPECT_EQ(stretched.height, 8u);
  const struct {
    Extent size, wanted;
    std::uint32_t left, top, width, height;
  } rows[] = {{{30, 10}, {9, 9}, 0, 3, 9, 3},
              {{10, 30}, {9, 9}, 3, 0, 3, 9},
              {{16000, 1}, {8, 8}, 0, 3, 8, 1},
              {{1, 1}, {8, 4}, 2, 0, 4, 4},
              {{8, 8}, {8, 8}, 0, 0, 8, 8}};
  for (const auto& row : rows) {
    const Framing padded = frame(row.size, row.wanted, Resize::pad, 1);
    EXPECT_EQ(padded.left, row.left);
    EXPECT_EQ(padded.top, row.top);
    EXPECT_EQ(padded.width, row.width);
    EXPECT_EQ(padded.height, row.height);
  }
}

// A crop never looks beyond the picture, whatever its shape.
TEST(Framing, StaysWithinThePicture) {
  for (const std::uint32_t width : {1u, 2u, 7u, 640u, 16'384u}) {
    for (const std::uint32_t height : {1u, 3u, 480u, 16'384u}) {
      for (const double crop_pct : {0.1, 0.875, 1.0}) {
        for (const Extent wanted : {Extent{224, 224}, {1, 1}, {64, 8}}) {
          const Box part = frame({width, height}, wanted, Resize::crop, crop_pct).part;
          EXPECT_GE(part.left, 0);
          EXPECT_GE(part.top, 0);
          EXPECT_LT(part.left, part.right);
          EXPECT_LT(part.top, part.bottom);
          EXPECT_LE(part.right, width + 1e-6);
          EXPECT_LE(part.bottom, height + 1e-6);
        }
      }
    }
  }
}

TEST(PictureTensor, HasTheModelsOrderAndNumbers) {
  const std::uint8_t pixels[] = {10, 20, 30, 40, 50, 60};  // Two, side by side.
  const Picture picture{2, 1, pixels};
  const Framing framing{{0, 0, 2, 1}, 0, 0, 2, 1};
  const Framing padded{{0, 0, 2, 1}, 0, 1, 2, 1};
  const struct {
    TensorForm form;
    Framing framing;
    std::vector<std::int64_t> shape;
    std::vector<float> values;
  } rows[] = {
      {{.size = {2, 1}, .scale = 1}, framing, {1, 3, 1, 2}, {30, 60, 20, 50, 10, 40}},
      {{.size = {2, 1}, .colours = Colours::bgr, .scale = 1},
       framing,
       {1, 3, 1, 2},
       {10, 40, 20, 50, 30, 60}},
      {{.size = {2, 1}, .layout = Layout::nhwc, .scale = 1},
       framing,
       {1, 1, 2, 3},
       {30, 20, 10, 60, 50, 40}},
      {{.size = {2, 1}, .colours = Colours::grey, .scale = 1},
       framing,
       {1, 1, 1, 2},
       {0.299f * 30 + 0.587f * 20 + 0.114f * 10, 0.299f * 60 + 0.587f * 50 + 0.114f * 40}},
      {{.size = {2, 1}, .scale = 0.1f, .mean = {1, 2, 3}, .deviation = {1, 2, 0.5f}},
       framing,
       {1, 3, 1, 2},
       {2, 5, 0, 1.5f, -4, 2}},
      {{.size = {2, 1}, .layout = Layout::nhwc, .scale = 1, .mean = {1, 2, 3}},
       framing,
       {1, 1, 2, 3},
       {29, 18, 7, 59, 48, 37}},
      {{.size = {2, 3}, .colours = Colours::bgr, .scale = 1, .border = 7},
       padded,
       {1, 3, 3, 2},
       {7, 7, 10, 40, 7, 7, 7, 7, 20, 50, 7, 7, 7, 7, 30, 60, 7, 7}},
  };
  for (const auto& row : rows) {
    EXPECT_EQ(shape_of(row.form), row.shape);
    const auto values = picture_tensor(picture, row.framing, {}, row.form);
    ASSERT_EQ(values.size(), row.values.size());
    for (std::size_t i = 0; i < values.size(); ++i)
      EXPECT_NEAR(values[i], row.values[i], 1e-4) << i;
  }
}

}  // namespace
}  // namespace dormouse::onnx
