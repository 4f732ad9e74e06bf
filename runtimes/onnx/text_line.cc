#include "runtimes/onnx/text_line.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "runtimes/onnx/json_text.h"
#include "runtimes/onnx/lines.h"
#include "runtimes/onnx/tensor_text.h"

namespace dormouse::onnx {
namespace {

constexpr std::size_t keys_max = 100'000;

Error refused(std::string why) {
  return {Code::invalid_argument, std::move(why)};
}

// In both -1 is any number; a shape without dimensions is left open.
bool may_be(std::span<const std::int64_t> shape, std::initializer_list<std::int64_t> wanted) {
  const auto alike = [](std::int64_t a, std::int64_t b) { return a < 0 || b < 0 || a == b; };
  return shape.empty() || std::ranges::equal(shape, wanted, alike);
}

bool takes_lines(const wire::TensorSpec& input) {
  return input.type == wire::DataType::fp32 && may_be(input.shape, {1, 3, line_height, -1}) &&
         (input.shape.empty() || input.shape.back() < 0);
}

bool gives_steps(const wire::TensorSpec& output) {
  return output.type == wire::DataType::fp32 && may_be(output.shape, {1, -1, -1});
}

}  // namespace

LineInput line_input(Extent picture) {
  const double ratio = static_cast<double>(picture.width) / picture.height;
  const double wanted = std::ceil(ratio * line_height);
  const auto width = static_cast<std::uint32_t>(std::clamp<double>(wanted, 1, line_width_max));
  return {{whole(picture), 0, 0, width, line_height},
          {.size = {std::max(width, line_width_min), line_height},
           .colours = Colours::bgr,
           .mean = {0.5f, 0.5f, 0.5f},
           .deviation = {0.5f, 0.5f, 0.5f},
           .border = 127.5f}};  // The grey in the middle.
}

Result<std::size_t> characters_of(const wire::Signature& signature) {
  if (signature.inputs.size() != 1 || signature.outputs.size() != 1) {
    return refused("text-line wants a model that makes one tensor of one tensor");
  }
  const wire::TensorSpec& input = signature.inputs.front();
  const wire::TensorSpec& output = signature.outputs.front();
  if (!takes_lines(input)) {
    return refused("the model's input \"" + input.name + "\" is " + describe(input) +
                   ": text-line wants FP32 [1,3,48,width] of any width");
  }
  if (!gives_steps(output)) {
    return refused("the model's output \"" + output.name + "\" is " + describe(output) +
                   ": text-line wants FP32 [1,steps,characters]");
  }
  const std::int64_t last = output.shape.empty() ? -1 : output.shape.back();
  return static_cast<std::size_t>(std::max<std::int64_t>(last, 0));
}

Result<std::vector<std::string>> read_keys(Bytes file) {
  auto keys = read_lines(file, keys_max);
  if (!keys) return keys;
  keys->insert(keys->begin(), "");
  keys->emplace_back(" ");
  return keys;
}

Result<TextLine> read_line(std::span<const std::int64_t> shape, std::span<const float> values,
                           const std::vector<std::string>& keys) {
  const bool fits = shape.size() == 3 && shape[0] == 1 && shape[1] >= 0 &&
                    shape[2] == static_cast<std::int64_t>(keys.size()) &&
                    values.size() == static_cast<std::size_t>(shape[1]) * keys.size();
  if (!fits) {
    return Error{Code::function_failed, "the model's answer is not [1, steps, " +
                                            std::to_string(keys.size()) +
                                            "], as the file of keys has it"};
  }
  const auto odd = std::ranges::find_if(values, [](float value) { return std::isnan(value); });
  if (odd != values.end()) {
    const auto step = static_cast<std::size_t>(odd - values.begin()) / keys.size();
    return Error{Code::function_failed,
                 "the model's answer for step " + std::to_string(step) + " is not a number"};
  }
  TextLine line;
  std::size_t last = 0, characters = 0;
  for (auto step = values; !step.empty(); step = step.subspan(keys.size())) {
    const auto best = std::ranges::max_element(step.first(keys.size()));
    const auto key = static_cast<std::size_t>(best - step.begin());
    if (key != 0 && key != last) {
      line.text += keys[key];
      line.confidence += *best;
      ++characters;
    }
    last = key;
  }
  if (characters > 0) line.confidence /= static_cast<double>(characters);
  return line;
}

std::string to_json(const TextLine& line) {
  char confidence[32];
  const double shown = std::isfinite(line.confidence) ? line.confidence : 0;
  std::snprintf(confidence, sizeof confidence, "%.4f", shown);
  return "{\"text\": " + json_text(line.text) + ", \"confidence\": " + confidence + "}";
}

}  // namespace dormouse::onnx
