#include "runtimes/onnx/classification.h"

#include <gtest/gtest.h>

namespace dormouse::onnx {
namespace {

using Shape = std::vector<std::int64_t>;
using wire::DataType;

wire::Signature model(Shape input, Shape output = {1, 10}, DataType type = DataType::fp32) {
  return {{{"image", type, std::move(input)}}, {{"scores", DataType::fp32, std::move(output)}}};
}

TEST(Classification, ReadsItsOptions) {
  const auto read = read_classification({{"labels", "a.txt"},
                                         {"size", "320x240"},
                                         {"resize", "crop"},
                                         {"crop_pct", "0.95"},
                                         {"interpolation", "bicubic"},
                                         {"channel_order", "bgr"},
                                         {"scale", "1 / 127.5"},
                                         {"mean", "0.485, 1/2,-4e-1"},
                                         {"std", "-1"},
                                         {"output", "logits"},
                                         {"activation", "sigmoid"},
                                         {"top_k", "1000"}});
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->labels, "a.txt");
  EXPECT_EQ(read->size, (Extent{320, 240}));
  EXPECT_EQ(read->resize, Resize::crop);
  EXPECT_EQ(read->crop_pct, 0.95);
  EXPECT_EQ(read->interpolation, Filter::bicubic);
  EXPECT_EQ(read->channel_order, Colours::bgr);
  EXPECT_FLOAT_EQ(read->scale, 1 / 127.5f);
  EXPECT_EQ(read->mean, (std::vector<float>{0.485f, 0.5f, -0.4f}));
  EXPECT_EQ(read->deviation, std::vector<float>{-1});
  EXPECT_EQ(read->output, "logits");
  EXPECT_EQ(read->activation, Activation::sigmoid);
  EXPECT_EQ(read->top_k, 1000u);
  EXPECT_EQ(read_classification({{"size", "224"}})->size, (Extent{224, 224}));
}

TEST(Classification, RefusesOptionsAndNamesThem) {
  const struct {
    const char *name, *given, *why;
  } rows[] = {
      {"lables", "a", "there is no option \"lables\"; image-classification has labels size"},
      {"labels", "", "labels is empty"},
      {"size", "0", "size: \"0\" is not allowed; allowed is a side, as 224, or WIDTHxHEIGHT"},
      {"size", "224x", "size:"},
      {"size", "224x224x3", "size:"},
      {"size", "-1", "size:"},
      {"size", "4097", "size:"},
      {"size", "99999999999999999999", "size:"},
      {"resize", "fit", "resize: \"fit\" is not allowed; allowed is stretch, crop, pad"},
      {"crop_pct", "0.875", "crop_pct is only for resize: crop"},
      {"crop_pct", "87.5", "crop_pct: \"87.5\" is not allowed; allowed is from 0.1 to 1"},
      {"crop_pct", "nan", "crop_pct:"},
      {"interpolation", "nearest", "allowed is bilinear, bicubic"},
      {"channel_order", "gbr", "allowed is rgb, bgr"},
      {"scale", "0", "scale: \"0\" is not allowed; allowed is a number but 0"},
      {"scale", "1/0", "scale:"},
      {"scale", "inf", "scale:"},
      {"scale", "1e7", "scale:"},
      {"mean", "a", "mean: \"a\" is not allowed; allowed is a number, or one for each channel"},
      {"mean", "1,2,3,4", "mean:"},
      {"mean", "1,,2", "mean:"},
      {"mean", "1e300", "mean:"},
      {"std", "0.2, 0, 0.2", "std:"},
      {"std", "1e-300", "std:"},
      {"activation", "relu", "allowed is softmax, sigmoid, none"},
      {"top_k", "0", "top_k: \"0\" is not allowed; allowed is from 1 to 1000"},
      {"top_k", "1001", "top_k:"},
      {"top_k", "3.0", "top_k:"},
  };
  for (const auto& row : rows) {
    const auto read = read_classification({{row.name, row.given}});
    ASSERT_FALSE(read) << row.name << " " << row.given;
    EXPECT_EQ(read.error().code, Code::invalid_argument);
    EXPECT_NE(read.error().message.find(row.why), std::string::npos) << read.error().message;
  }
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
      {model({1, 3, 8, 5000}), {}, "no picture"},
      {model({3, 8, 8}), {}, "no picture"},
      {model({1, 3, 8, 8}, {1, 10}, DataType::uint8),
       {},
       "is UINT8 [1,3,8,8], which is no picture"},
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
