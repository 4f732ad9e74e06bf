// From a model's answer, a number for each class, to the few labels that fit best. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace dormouse::onnx {

inline constexpr std::size_t classes_max = 1'000'000;

// What makes scores of the model's numbers.
enum class Activation : std::uint8_t {
  softmax,  // One class is right: scores are shares of 1.
  sigmoid,  // Each class for itself: scores from 0 to 1.
  none,     // As they are.
};
std::string_view name(Activation);

// No number is too large for it, infinite ones included. function_failed names the first class
// whose number is none, and scores are as they were.
Result<> activate(Activation, std::span<float> scores);

// From 0 to 1, and 1 together, within what rounding explains: what softmax has made already.
bool are_probabilities(std::span<const float> scores);

struct Label {
  std::string text;
  std::size_t index = 0;  // Of the class, from 0.
  float score = 0;
  bool operator==(const Label&) const = default;
};

// The `count` highest, highest first; of equal ones that with the lower index. `labels` has one for
// each score, or none: then a label is its index. function_failed if a score is not a number, or
// infinite.
Result<std::vector<Label>> top_labels(std::span<const float> scores, std::size_t count,
                                      std::span<const std::string> labels);

// {"labels": [{"label": "7", "index": 7, "score": 0.998}, …]}
std::string to_json(std::span<const Label>);

// A file of labels, one a line; empty lines at its end are none. invalid_argument if it is empty,
// not UTF-8, or longer than any model.
Result<std::vector<std::string>> read_labels(Bytes file);

}  // namespace dormouse::onnx
