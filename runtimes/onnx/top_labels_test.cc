#include "runtimes/onnx/top_labels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace dormouse::onnx {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

TEST(Activation, MakesSharesOfAnyNumbers) {
  const struct {
    std::vector<float> given, shares;
  } rows[] = {
      {{0, 0}, {0.5f, 0.5f}},
      {{std::log(1.0f), std::log(3.0f)}, {0.25f, 0.75f}},
      {{1e30f, -1e30f, 0}, {1, 0, 0}},
      {{1e30f, 1e30f}, {0.5f, 0.5f}},
      {{-1e30f, -1e30f}, {0.5f, 0.5f}},
      {{infinity, 0, infinity}, {0.5f, 0, 0.5f}},
      {{-infinity, 0}, {0, 1}},
      {{-infinity, -infinity}, {0.5f, 0.5f}},
      {{1000, 1001}, {0.26894142f, 0.7310586f}},
      {{5}, {1}},
      {{}, {}},
  };
  for (const auto& row : rows) {
    auto scores = row.given;
    ASSERT_TRUE(activate(Activation::softmax, scores));
    for (std::size_t i = 0; i < scores.size(); ++i) EXPECT_NEAR(scores[i], row.shares[i], 1e-6);
  }
  std::vector<float> scores = {0, 1e30f, -1e30f, std::log(3.0f), infinity, -infinity};
  ASSERT_TRUE(activate(Activation::sigmoid, scores));
  const float wanted[] = {0.5f, 1, 0, 0.75f, 1, 0};
  for (std::size_t i = 0; i < scores.size(); ++i) EXPECT_NEAR(scores[i], wanted[i], 1e-6);
  ASSERT_TRUE(activate(Activation::none, scores));
  EXPECT_EQ(scores[1], 1);
}

TEST(Activation, IsFoundByTheNumbersThemselves) {
  EXPECT_TRUE(are_probabilities(std::vector<float>{0.25f, 0.75f}));
  EXPECT_TRUE(are_probabilities(std::vector<float>{0, 1, 0}));
  EXPECT_TRUE(are_probabilities(std::vector<float>(1000, 0.001f)));
  EXPECT_FALSE(are_probabilities(std::vector<float>{0.3f, 0.4f}));
  EXPECT_FALSE(are_probabilities(std::vector<float>{1.5f, -0.5f}));
  EXPECT_FALSE(are_probabilities(std::vector<float>{nan, 1}));
  EXPECT_FALSE(are_probabilities(std::vector<float>{infinity, 0}));
  EXPECT_FALSE(are_probabilities(std::vector<float>{}));
}

TEST(TopLabels, AreHighestFirstAndOfEqualOnesTheFirst) {
  const std::vector<float> scores = {0.1f, 0.4f, 0.1f, 0.4f, 0};
  const std::vector<std::string> labels = {"a", "b", "c", "d", "e"};
  const auto top = top_labels(scores, 3, labels);
  ASSERT_TRUE(top);
  EXPECT_EQ(*top, (std::vector<Label>{{"b", 1, 0.4f}, {"d", 3, 0.4f}, {"a", 0, 0.1f}}));
  const auto all = top_labels(scores, 100, {});
  ASSERT_TRUE(all);
  ASSERT_EQ(all->size(), 5u);
  EXPECT_EQ(all->back(), (Label{"4", 4, 0}));
}

TEST(TopLabels, AreNoneOfWhatIsNoNumber) {
  for (const Activation activation : {Activation::softmax, Activation::sigmoid, Activation::none}) {
    std::vector<float> scores = {0, nan, 1};
    const auto activated = activate(activation, scores);
    ASSERT_FALSE(activated);
    EXPECT_EQ(activated.error().code, Code::function_failed);
    EXPECT_EQ(activated.error().message, "the model's answer for class 1 is not a number");
    const auto top = top_labels(scores, 1, {});
    ASSERT_FALSE(top);
    EXPECT_EQ(top.error().message, "the model's answer for class 1 is not a number");
  }
  const auto top = top_labels(std::vector<float>{0, 1, infinity}, 1, {});
  ASSERT_FALSE(top);
  EXPECT_EQ(top.error().message, "the model's answer for class 2 is infinite");
}

TEST(TopLabels, AreWrittenAsJson) {
  const Label labels[] = {{"a \"b\"\\\n ü", 12, 0.99999f}, {"c", 0, 1e-12f}, {"d", 1, -1e30f}};
  EXPECT_EQ(
      to_json(labels),
      "{\"labels\": [{\"label\": \"a \\\"b\\\"\\\\\\u000a ü\", \"index\": 12, \"score\": 0.99999}, "
      "{\"label\": \"c\", \"index\": 0, \"score\": 1e-12}, "
      "{\"label\": \"d\", \"index\": 1, \"score\": -1e+30}]}");
  EXPECT_EQ(to_json({}), "{\"labels\": []}");
}

TEST(Labels, AreReadHoweverTheyWereSaved) {
  const std::vector<std::string> wanted = {"cat", "dög", "", "fish"};
  for (const char* file : {"cat\ndög\n\nfish", "cat\ndög\n\nfish\n", "cat\r\ndög\r\n\r\nfish\r\n",
                           "\xef\xbb\xbf"
                           "cat\ndög\n\nfish\n\n\n"}) {
    const auto labels = read_labels(as_bytes(file));
    ASSERT_TRUE(labels) << labels.error().message;
    EXPECT_EQ(*labels, wanted);
  }
}

TEST(Labels, AreRefusedIfTheyAreNoText) {
  const struct {
    std::string file;
    const char* why;
  } rows[] = {
      {"", "it is empty"},
      {"\n\r\n", "it is empty"},
      {"\xef\xbb\xbf", "it is empty"},
      {"a\nb\xff\n", "its line 2 is not UTF-8"},
      {"\xc0\xaf", "its line 1 is not UTF-8"},
      {"\xe0\x80\xaf", "not UTF-8"},
      {"\xed\xa0\x80", "not UTF-8"},
      {"\xf4\x90\x80\x80", "not UTF-8"},
      {"\xe2\x82", "not UTF-8"},
      {std::string(1025, 'a'), "its line 1 is over 1024 bytes"},
      {std::string(1'000'000, '\n') + "a", "more than 1000000 lines"},
  };
  for (const auto& row : rows) {
    const auto labels = read_labels(as_bytes(row.file));
    ASSERT_FALSE(labels) << row.why;
    EXPECT_NE(labels.error().message.find(row.why), std::string::npos) << labels.error().message;
  }
  EXPECT_EQ(read_labels(as_bytes("a\n" + std::string(2'000'000, '\n')))->size(), 1u);
  EXPECT_TRUE(read_labels(as_bytes("\xf0\x9f\x90\xad \xe2\x82\xac")));
}

}  // namespace
}  // namespace dormouse::onnx
