#include "runtimes/onnx/top_labels.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "base/check.h"
#include "runtimes/onnx/json_text.h"
#include "runtimes/onnx/lines.h"

namespace dormouse::onnx {
namespace {

Error failed(std::ptrdiff_t class_index, const char* why) {
  return {Code::function_failed,
          "the model's answer for class " + std::to_string(class_index) + " " + why};
}

// The highest is taken from each, so that the largest power is 1. Where all are, or the highest is,
// infinite, a difference would be no number.
void softmax(std::span<float> scores) {
  if (scores.empty()) return;
  const float highest = *std::ranges::max_element(scores);
  double sum = 0;
  for (float& score : scores) {
    score = score == highest ? 1 : std::exp(score - highest);
    sum += score;
  }
  for (float& score : scores) score = static_cast<float>(score / sum);
}

}  // namespace

std::string_view name(Activation activation) {
  switch (activation) {
    case Activation::softmax: return "softmax";
    case Activation::sigmoid: return "sigmoid";
    case Activation::none: return "none";
  }
  CHECK_UNREACHABLE("every Activation has a name");
}

Result<> activate(Activation activation, std::span<float> scores) {
  const auto odd = std::ranges::find_if(scores, [](float score) { return std::isnan(score); });
  if (odd != scores.end()) return failed(odd - scores.begin(), "is not a number");
  switch (activation) {
    case Activation::softmax: softmax(scores); return ok;
    case Activation::sigmoid:
      for (float& score : scores) score = 1 / (1 + std::exp(-score));
      return ok;
    case Activation::none: return ok;
  }
  CHECK_UNREACHABLE("every Activation makes scores");
}

bool are_probabilities(std::span<const float> scores) {
  constexpr double rounding = 1e-3;
  const auto outside = [](float score) { return !(score >= 0 && score <= 1 + rounding); };
  if (std::ranges::any_of(scores, outside)) return false;
  return std::abs(std::accumulate(scores.begin(), scores.end(), 0.0) - 1) <= rounding;
}

Result<std::vector<Label>> top_labels(std::span<const float> scores, std::size_t count,
                                      std::span<const std::string> labels) {
  const auto odd = std::ranges::find_if_not(scores, [](float s) { return std::isfinite(s); });
  if (odd != scores.end()) {
    return failed(odd - scores.begin(), std::isnan(*odd) ? "is not a number" : "is infinite");
  }
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  const auto better = [&](std::size_t a, std::size_t b) {
    return scores[a] > scores[b] || (scores[a] == scores[b] && a < b);
  };
  const auto kept = static_cast<std::ptrdiff_t>(std::min(count, order.size()));
  std::ranges::partial_sort(order, order.begin() + kept, better);
  std::vector<Label> top;
  for (const std::size_t index : std::span(order).first(static_cast<std::size_t>(kept))) {
    const std::string text = labels.empty() ? std::to_string(index) : labels[index];
    top.push_back({text, index, scores[index]});
  }
  return top;
}

std::string to_json(std::span<const Label> labels) {
  std::string out = "{\"labels\": [";
  for (const Label& label : labels) {
    if (!out.ends_with('[')) out += ", ";
    char score[32];
    std::snprintf(score, sizeof score, "%.6g", static_cast<double>(label.score));
    out += "{\"label\": " + json_text(label.text) + ", \"index\": " + std::to_string(label.index) +
           ", \"score\": " + score + "}";
  }
  return out + "]}";
}

Result<std::vector<std::string>> read_labels(Bytes file) {
  const auto is_line_end = [](std::byte byte) {
    return byte == std::byte('\n') || byte == std::byte('\r');
  };
  while (!file.empty() && is_line_end(file.back())) file = file.first(file.size() - 1);
  auto labels = read_lines(file, classes_max);
  if (labels && labels->empty()) return Error{Code::invalid_argument, "it is empty"};
  return labels;
}

}  // namespace dormouse::onnx
