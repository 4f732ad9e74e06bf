#include "runtimes/onnx/number_bytes.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

namespace dormouse::onnx {
namespace {

using wire::DataType;

TEST(NumberBytes, RoundsToWholeOnesWithinTheirRange) {
  const float values[] = {0,
                          1.4f,
                          1.6f,
                          254.6f,
                          300,
                          -3,
                          std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN()};
  const std::vector<std::uint8_t> wanted = {0, 1, 2, 255, 255, 0, 255, 0};
  const auto bytes = elements_of(values, DataType::uint8);
  ASSERT_EQ(bytes.size(), wanted.size());
  EXPECT_EQ(std::memcmp(bytes.data(), wanted.data(), bytes.size()), 0);
}

TEST(NumberBytes, KnowsHalves) {
  const struct {
    float value;
    std::uint16_t half;
  } rows[] = {{0, 0},          {1, 0x3c00},       {-2, 0xc000},     {0.5f, 0x3800},
              {65504, 0x7bff}, {1e30f, 0x7c00},   {-1e30f, 0xfc00}, {6e-8f, 0x0001},
              {1e-9f, 0x0000}, {1.0005f, 0x3c01}, {0.3333f, 0x3555}};
  for (const auto& row : rows) {
    const auto bytes = elements_of(std::span(&row.value, 1), DataType::fp16);
    std::uint16_t half = 0;
    ASSERT_EQ(bytes.size(), sizeof half);
    std::memcpy(&half, bytes.data(), sizeof half);
    EXPECT_EQ(half, row.half) << row.value;
    const float back = floats_of(bytes, DataType::fp16).front();
    if (std::abs(row.value) <= 65504)
      EXPECT_NEAR(back, row.value, std::abs(row.value) / 1000 + 1e-7);
    if (std::abs(row.value) > 65504) EXPECT_TRUE(std::isinf(back));
  }
}

TEST(NumberBytes, LeavesFloatsAsTheyAre) {
  const std::vector<float> values = {0, -1.5f, 1e30f};
  EXPECT_EQ(floats_of(elements_of(values, DataType::fp32), DataType::fp32), values);
  EXPECT_FALSE(takes_floats(DataType::int8));
  EXPECT_FALSE(gives_floats(DataType::uint8));
}

}  // namespace
}  // namespace dormouse::onnx
