#include "runtimes/onnx/classification_options.h"

#include <gtest/gtest.h>

namespace dormouse::onnx {
namespace {

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
  EXPECT_FLOAT_EQ(read->scale.value(), 1 / 127.5f);
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
      {"scale", "1e-50", "scale: \"1e-50\" is not allowed; allowed is a number but 0"},
      {"mean", "a", "mean: \"a\" is not allowed; allowed is a number, or one for each channel"},
      {"mean", "1,2,3,4", "mean:"},
      {"mean", "1,,2", "mean:"},
      {"mean", "1e300", "mean:"},
      {"std", "0.2, 0, 0.2", "std:"},
      {"std", "1e-300", "std:"},
      {"std", "0.2, 1e-40, 0.2", "std: \"0.2, 1e-40, 0.2\" is not allowed"},
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

}  // namespace
}  // namespace dormouse::onnx
