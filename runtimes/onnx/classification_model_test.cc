#include "runtimes/onnx/classification_model.h"

#include <gtest/gtest.h>

namespace dormouse::onnx {
namespace {

using Shape = std::vector<std::int64_t>;
using wire::DataType;

wire::Signature model(Shape input, Shape output = {1, 10}, DataType type = DataType::fp32) {
  return {{{"image", type, std::move(input)}}, {{"scores", DataType::fp32, std::move(output)}}};
}

TEST(PictureForm, IsFoundByTheModelsInput) {
  const Classification plain;
  const Classification sized{.size = Extent{32, 24}};
  const struct {
    Shape input;
    Classification options;
    Layout layout;
    Colours colours;
    Extent size;
  } rows[] = {
      {{1, 3, 224, 224}, plain, Layout::nchw, Colours::rgb, {224, 224}},
      {{-1, 3, 20, 30}, plain, Layout::nchw, Colours::rgb, {30, 20}},
      {{-1, 224, 224, 3}, plain, Layout::nhwc, Colours::rgb, {224, 224}},
      {{1, 1, 28, 28}, plain, Layout::nchw, Colours::grey, {28, 28}},
      {{1, 28, 28, 1}, plain, Layout::nhwc, Colours::grey, {28, 28}},
      {{1, 3, 3, 3}, plain, Layout::nchw, Colours::rgb, {3, 3}},
      {{-1, 3, -1, -1}, sized, Layout::nchw, Colours::rgb, {32, 24}},
      {{-1, -1, -1, 3}, sized, Layout::nhwc, Colours::rgb, {32, 24}},
      {{-1, -1, -1, -1}, sized, Layout::nchw, Colours::rgb, {32, 24}},
      {{}, sized, Layout::nchw, Colours::rgb, {32, 24}},
      {{1, 3, 24, 32}, sized, Layout::nchw, Colours::rgb, {32, 24}},
      {{1, 3, 24, 32}, {.channel_order = Colours::bgr}, Layout::nchw, Colours::bgr, {32, 24}},
  };
  for (const auto& row : rows) {
    const auto form = picture_form(model(row.input), row.options);
    ASSERT_TRUE(form) << form.error().message;
    EXPECT_EQ(form->layout, row.layout);
    EXPECT_EQ(form->colours, row.colours);
    EXPECT_EQ(form->size, row.size);
  }
  const auto form = picture_form(model({1, 3, 8, 8}), {.mean = {1, 2, 3}, .deviation = {4}});
  EXPECT_EQ(form->mean, (std::array<float, 3>{1, 2, 3}));
  EXPECT_EQ(form->deviation, (std::array<float, 3>{4, 4, 4}));
}

TEST(PictureForm, IsOfWholeNumbersForAModelThatTakesThem) {
  EXPECT_EQ(picture_form(model({1, 3, 8, 8}, {1, 10}, DataType::uint8), {})->scale, 1);
  EXPECT_EQ(picture_form(model({1, 3, 8, 8}, {1, 10}, DataType::uint8), {.scale = 2})->scale, 2);
  EXPECT_EQ(picture_form(model({1, 3, 8, 8}, {1, 10}, DataType::fp16), {})->scale, 1.0f / 255);
}

TEST(PictureForm, IsRefusedIfTheModelTakesNoPicture) {
  const struct {
    wire::Signature model;
    Classification options;
    const char* why;
  } rows[] = {
      {model({1, 64}), {}, "\"image\" is FP32 [1,64], which is no picture"},
      {model({1, 2, 8, 8}), {}, "no picture"},
      {model({1, 4, 8, 8}), {}, "no picture"},
      {model({8, 3, 8, 8}), {}, "no picture"},
      {model({0, 3, 8, 8}), {}, "no picture"},
      {model({1, 3, 0, 8}), {}, "no picture"},
      {model({1, 3, 8, 5000}),
       {},
       "is FP32 [1,3,8,5000], which is too large: a side is at most 4096"},
      {model({3, 8, 8}), {}, "no picture"},
      {model({1, 3, 8, 8}, {1, 10}, DataType::int8), {}, "is INT8 [1,3,8,8], which is no picture"},
      {{{}, {}}, {}, "the model takes 0 inputs"},
      {{{{"a", DataType::fp32, {1}}, {"b", DataType::fp32, {1}}}, {}}, {}, "2 inputs (a, b)"},
      {model({1, 3, -1, -1}), {}, "size is missing"},
      {model({1, 3, 8, -1}), {}, "size is missing"},
      {model({1, 3, 8, 8}), {.size = Extent{9, 8}}, "size: the model takes pictures of one size"},
      {model({1, 1, 8, 8}), {.channel_order = Colours::bgr}, "channel_order: the model takes grey"},
      {model({1, 1, 8, 8}), {.mean = {1, 2, 3}}, "mean: 3 numbers, and the model takes 1 channel"},
      {model({1, 3, 8, 8}),
       {.deviation = {1, 2}},
       "std: 2 numbers, and the model takes 3 channels"},
      {model({1, 3, 8, 8}), {.scale = 1e6f, .deviation = {1e-37f}}, "scale, mean, std: together"},
      {model({1, 3, 8, 8}), {.scale = 1e-37f, .deviation = {1e30f}}, "scale, mean, std: together"},
      {model({1, 3, 8, 8}), {.mean = {1e30f}, .deviation = {1e-30f}}, "scale, mean, std: together"},
  };
  for (const auto& row : rows) {
    const auto form = picture_form(row.model, row.options);
    ASSERT_FALSE(form) << row.why;
    EXPECT_EQ(form.error().code, Code::invalid_argument);
    EXPECT_NE(form.error().message.find(row.why), std::string::npos) << form.error().message;
  }
}

TEST(ClassOutput, IsTheOneOrTheNamedOne) {
  EXPECT_EQ(*class_output(model({}, {1, 10}), {}), 0u);
  EXPECT_EQ(*class_output(model({}, {-1, 1000, 1, 1}), {}), 0u);
  EXPECT_EQ(*class_output(model({}, {}), {}), 0u);
  wire::Signature two = model({}, {1, 10});
  two.outputs.push_back({"features", DataType::fp32, {1, 10, 7, 7}});
  two.outputs.push_back({"label", DataType::int64, {1}});
  EXPECT_EQ(*class_output(two, {.output = "scores"}), 0u);
  const struct {
    wire::Signature model;
    std::string output;
    const char* why;
  } rows[] = {
      {two, "", "output is missing: say which of the model's outputs has the classes: scores, "},
      {two, "logits", "the model has no output \"logits\"; it has scores, features, label"},
      {two, "features", "\"features\" is FP32 [1,10,7,7], which is no list of classes"},
      {two, "label", "\"label\" is INT64 [1], which is no list of classes"},
      {model({}, {1, 0}), "", "no list of classes"},
  };
  for (const auto& row : rows) {
    const auto output = class_output(row.model, {.output = row.output});
    ASSERT_FALSE(output) << row.why;
    EXPECT_NE(output.error().message.find(row.why), std::string::npos) << output.error().message;
  }
}

TEST(ClassOutput, TellsHowManyClassesThereAre) {
  const auto classes = [](Shape shape) { return classes_of(shape); };
  EXPECT_EQ(classes({1, 10}), 10u);
  EXPECT_EQ(classes({10}), 10u);
  EXPECT_EQ(classes({1, 10, 1, 1}), 10u);
  EXPECT_EQ(classes({1, 1}), 1u);
  EXPECT_EQ(classes({1, -1}), std::nullopt);
  EXPECT_EQ(classes({-1, 10}), std::nullopt);
  EXPECT_EQ(classes({2, 10}), std::nullopt);
  EXPECT_EQ(classes({1, 0}), std::nullopt);
  EXPECT_EQ(classes({}), std::nullopt);
  EXPECT_EQ(classes({1, 1'000'001}), std::nullopt);
}

}  // namespace
}  // namespace dormouse::onnx
