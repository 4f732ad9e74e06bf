#include "runtimes/onnx/classification_model.h"

#include <algorithm>
#include <cmath>

#include "runtimes/onnx/number_bytes.h"
#include "runtimes/onnx/tensor_text.h"

namespace dormouse::onnx {
namespace {

Error refused(std::string why) {
  return {Code::invalid_argument, std::move(why)};
}

// Which dimension of [N, …] has the channels, and how many those are.
struct Channels {
  Layout layout = Layout::nchw;
  std::int64_t count = 3;
};

std::optional<Channels> channels_in(std::span<const std::int64_t> shape) {
  const auto are_channels = [](std::int64_t count) { return count == 1 || count == 3; };
  if (are_channels(shape[1])) return Channels{Layout::nchw, shape[1]};
  if (are_channels(shape[3])) return Channels{Layout::nhwc, shape[3]};
  if (shape[1] < 0) return Channels{};
  return std::nullopt;
}

Error no_picture(const wire::TensorSpec& input) {
  return refused("the model's input \"" + input.name + "\" is " + describe(input) +
                 ", which is no picture: image-classification wants FP32, FP16 or UINT8 "
                 "[1,C,H,W] or [1,H,W,C] with 1 or 3 channels");
}

// A side as the model and the option have it; 0 if neither says.
Result<std::uint32_t> side(std::int64_t models, std::uint32_t given,
                           const wire::TensorSpec& input) {
  if (models < 0) return given;
  if (models == 0) return no_picture(input);
  if (models > tensor_side_max) {
    return refused("the model's input \"" + input.name + "\" is " + describe(input) +
                   ", which is too large: a side is at most 4096");
  }
  if (given == 0 || given == models) return static_cast<std::uint32_t>(models);
  return refused("size: the model takes pictures of one size, " + describe(input) +
                 ": leave it out");
}

Result<Extent> size_of(const wire::TensorSpec& input, std::span<const std::int64_t> shape,
                       Layout layout, const std::optional<Extent>& given) {
  const std::size_t height_at = layout == Layout::nchw ? 2 : 1;
  const auto height = side(shape[height_at], given ? given->height : 0, input);
  if (!height) return height.error();
  const auto width = side(shape[height_at + 1], given ? given->width : 0, input);
  if (!width) return width.error();
  if (*width != 0 && *height != 0) return Extent{*width, *height};
  return refused(
      "size is missing: the model takes pictures of any size, so say which it was made "
      "for, as in size: 224");
}

Result<std::array<float, 3>> by_channel(std::string_view option, const std::vector<float>& given,
                                        std::size_t channels) {
  if (given.size() == 1) return std::array<float, 3>{given[0], given[0], given[0]};
  if (given.size() != channels) {
    return refused(std::string(option) + ": " + std::to_string(given.size()) +
                   " numbers, and the model takes " + std::to_string(channels) +
                   (channels == 1 ? " channel" : " channels"));
  }
  std::array<float, 3> values{};
  std::ranges::copy(given, values.begin());
  return values;
}

// Whether the brightest pixel, and the darkest, become numbers that a float has.
bool are_finite(const TensorForm& form) {
  for (std::size_t channel = 0; channel < channels_of(form.colours); ++channel) {
    const float dark = -form.mean[channel] / form.deviation[channel];
    const float range = 255 * (form.scale / form.deviation[channel]);
    if (!std::isfinite(dark) || !std::isnormal(range) || !std::isfinite(dark + range)) return false;
  }
  return true;
}

std::string names_of(const std::vector<wire::TensorSpec>& tensors) {
  std::string names;
  for (const auto& tensor : tensors) names += (names.empty() ? "" : ", ") + tensor.name;
  return names;
}

bool may_be_classes(const wire::TensorSpec& output) {
  const auto several = [](std::int64_t dimension) { return dimension >= 0 && dimension != 1; };
  return gives_floats(output.type) && std::ranges::count_if(output.shape, several) <= 1 &&
         std::ranges::count(output.shape, 0) == 0;
}

}  // namespace

Result<TensorForm> picture_form(const wire::Signature& signature, const Classification& options) {
  if (signature.inputs.size() != 1) {
    return refused("the model takes " + std::to_string(signature.inputs.size()) + " inputs (" +
                   names_of(signature.inputs) + "), and image-classification has one picture");
  }
  const wire::TensorSpec& input = signature.inputs.front();
  const bool is_open = input.shape.empty();
  const auto shape = is_open ? std::vector<std::int64_t>(4, -1) : input.shape;
  const bool fits = takes_floats(input.type) && shape.size() == 4 && shape[0] <= 1;
  const auto channels = fits && shape[0] != 0 ? channels_in(shape) : std::nullopt;
  if (!channels) return no_picture(input);
  const bool of_wholes = input.type == wire::DataType::uint8;
  TensorForm form{.layout = channels->layout};
  form.scale = options.scale.value_or(of_wholes ? 1 : form.scale);
  form.colours = options.channel_order.value_or(Colours::rgb);
  if (channels->count == 1 && options.channel_order) {
    return refused("channel_order: the model takes grey pictures: leave it out");
  }
  if (channels->count == 1) form.colours = Colours::grey;
  const auto size = size_of(input, shape, form.layout, options.size);
  if (!size) return size.error();
  form.size = *size;
  const auto mean = by_channel("mean", options.mean, channels_of(form.colours));
  if (!mean) return mean.error();
  const auto deviation = by_channel("std", options.deviation, channels_of(form.colours));
  if (!deviation) return deviation.error();
  form.mean = *mean;
  form.deviation = *deviation;
  if (are_finite(form)) return form;
  return refused("scale, mean, std: together they make numbers of pixels that no FP32 can be");
}

Result<std::size_t> class_output(const wire::Signature& signature, const Classification& options) {
  const auto& outputs = signature.outputs;
  auto found = outputs.begin();
  if (!options.output.empty()) {
    found = std::ranges::find(outputs, options.output, &wire::TensorSpec::name);
    if (found == outputs.end()) {
      return refused("output: the model has no output \"" + options.output + "\"; it has " +
                     names_of(outputs));
    }
  } else if (outputs.size() > 1) {
    return refused("output is missing: say which of the model's outputs has the classes: " +
                   names_of(outputs));
  }
  if (may_be_classes(*found)) return static_cast<std::size_t>(found - outputs.begin());
  return refused("the model's output \"" + found->name + "\" is " + describe(*found) +
                 ", which is no list of classes: image-classification wants FP32 or FP16 "
                 "[1,classes]");
}

std::optional<std::size_t> classes_of(std::span<const std::int64_t> shape) {
  std::optional<std::size_t> classes;
  for (const std::int64_t dimension : shape) {
    if (dimension <= 0 || dimension > static_cast<std::int64_t>(classes_max)) return std::nullopt;
    if (dimension == 1) continue;
    if (classes) return std::nullopt;
    classes = static_cast<std::size_t>(dimension);
  }
  return shape.empty() ? std::nullopt : std::optional(classes.value_or(1));
}

}  // namespace dormouse::onnx
