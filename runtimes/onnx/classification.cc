#include "runtimes/onnx/classification.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "runtimes/onnx/tensor_text.h"

namespace dormouse::onnx {
namespace {

Error refused(std::string why) {
  return {Code::invalid_argument, std::move(why)};
}

Error not_allowed(std::string_view given, std::string_view allowed) {
  return refused("\"" + std::string(given.substr(0, 60)) + "\" is not allowed; allowed is " +
                 std::string(allowed));
}

std::string_view trimmed(std::string_view text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  return text;
}

template <class Number>
std::optional<Number> whole(std::string_view text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// "0.5", "1/255"
std::optional<double> number(std::string_view text) {
  const std::size_t slash = text.find('/');
  const auto above = whole<double>(trimmed(text.substr(0, slash)));
  if (!above || !std::isfinite(*above)) return std::nullopt;
  if (slash == text.npos) return above;
  const auto below = whole<double>(trimmed(text.substr(slash + 1)));
  if (!below || !std::isfinite(*below) || *below == 0) return std::nullopt;
  return *above / *below;
}

// One to three, with commas between.
std::optional<std::vector<float>> numbers(std::string_view text) {
  std::vector<float> all;
  for (std::size_t end = 0; end != text.npos;) {
    end = text.find(',');
    const auto next = number(text.substr(0, end));
    const auto narrow = static_cast<float>(next.value_or(0));
    if (!next || !std::isfinite(narrow) || all.size() == 3) return std::nullopt;
    all.push_back(narrow);
    if (end != text.npos) text.remove_prefix(end + 1);
  }
  return all;
}

template <class Value, std::size_t N>
Result<Value> one_of(std::string_view given,
                     const std::pair<std::string_view, Value> (&choices)[N]) {
  std::string allowed;
  for (const auto& [word, value] : choices) {
    if (given == word) return value;
    allowed += (allowed.empty() ? "" : ", ") + std::string(word);
  }
  return not_allowed(given, allowed);
}

// Each option has a function that reads it.
Result<> read_labels_option(std::string_view given, Classification& into) {
  into.labels = given;
  return ok;
}

Result<> read_size(std::string_view given, Classification& into) {
  const std::size_t by = given.find('x');
  const auto width = whole<std::uint32_t>(given.substr(0, by));
  const auto height = by == given.npos ? width : whole<std::uint32_t>(given.substr(by + 1));
  const auto good = [](const auto& side) { return side && *side >= 1 && *side <= tensor_side_max; };
  if (!good(width) || !good(height)) {
    return not_allowed(given, "a side, as 224, or WIDTHxHEIGHT, as 320x240, up to 4096");
  }
  into.size = Extent{*width, *height};
  return ok;
}

Result<> read_resize(std::string_view given, Classification& into) {
  constexpr std::pair<std::string_view, Resize> choices[] = {
      {"stretch", Resize::stretch}, {"crop", Resize::crop}, {"pad", Resize::pad}};
  const auto chosen = one_of(given, choices);
  if (!chosen) return chosen.error();
  into.resize = *chosen;
  return ok;
}

Result<> read_crop_pct(std::string_view given, Classification& into) {
  const auto part = number(given);
  if (!part || *part < 0.1 || *part > 1) return not_allowed(given, "from 0.1 to 1");
  into.crop_pct = *part;
  return ok;
}

Result<> read_interpolation(std::string_view given, Classification& into) {
  constexpr std::pair<std::string_view, Filter> choices[] = {{"bilinear", Filter::bilinear},
                                                             {"bicubic", Filter::bicubic}};
  const auto chosen = one_of(given, choices);
  if (!chosen) return chosen.error();
  into.interpolation = *chosen;
  return ok;
}

Result<> read_channel_order(std::string_view given, Classification& into) {
  constexpr std::pair<std::string_view, Colours> choices[] = {{"rgb", Colours::rgb},
                                                              {"bgr", Colours::bgr}};
  const auto chosen = one_of(given, choices);
  if (!chosen) return chosen.error();
  into.channel_order = *chosen;
  return ok;
}

Result<> read_scale(std::string_view given, Classification& into) {
  const auto scale = number(given);
  if (!scale || *scale == 0 || std::abs(*scale) > 1e6) {
    return not_allowed(given, "a number but 0, as 1/255 or 0.0039216");
  }
  into.scale = static_cast<float>(*scale);
  return ok;
}

Result<> read_mean(std::string_view given, Classification& into) {
  auto mean = numbers(given);
  if (!mean) return not_allowed(given, "a number, or one for each channel, as 0.485, 0.456, 0.406");
  into.mean = std::move(*mean);
  return ok;
}

Result<> read_std(std::string_view given, Classification& into) {
  auto deviation = numbers(given);
  if (!deviation || std::ranges::count(*deviation, 0.0f) > 0) {
    return not_allowed(given, "a number but 0, or one for each channel, as 0.229, 0.224, 0.225");
  }
  into.deviation = std::move(*deviation);
  return ok;
}

Result<> read_output(std::string_view given, Classification& into) {
  into.output = given;
  return ok;
}

Result<> read_activation(std::string_view given, Classification& into) {
  constexpr std::pair<std::string_view, Activation> choices[] = {{"softmax", Activation::softmax},
                                                                 {"sigmoid", Activation::sigmoid},
                                                                 {"none", Activation::none}};
  const auto chosen = one_of(given, choices);
  if (!chosen) return chosen.error();
  into.activation = *chosen;
  return ok;
}

Result<> read_top_k(std::string_view given, Classification& into) {
  const auto count = whole<std::size_t>(given);
  if (!count || *count < 1 || *count > 1000) return not_allowed(given, "from 1 to 1000");
  into.top_k = *count;
  return ok;
}

struct Option {
  std::string_view name;
  Result<> (*read)(std::string_view given, Classification& into);
};
constexpr Option known[] = {{"labels", read_labels_option},
                            {"size", read_size},
                            {"resize", read_resize},
                            {"crop_pct", read_crop_pct},
                            {"interpolation", read_interpolation},
                            {"channel_order", read_channel_order},
                            {"scale", read_scale},
                            {"mean", read_mean},
                            {"std", read_std},
                            {"output", read_output},
                            {"activation", read_activation},
                            {"top_k", read_top_k}};

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
                 ", which is no picture: image-classification wants FP32 [1,C,H,W] or [1,H,W,C] "
                 "with 1 or 3 channels");
}

// A side as the model and the option have it; 0 if neither says.
Result<std::uint32_t> side(std::int64_t models, std::uint32_t given,
                           const wire::TensorSpec& input) {
  if (models < 0) return given;
  if (models == 0 || models > tensor_side_max) return no_picture(input);
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

std::string names_of(const std::vector<wire::TensorSpec>& tensors) {
  std::string names;
  for (const auto& tensor : tensors) names += (names.empty() ? "" : ", ") + tensor.name;
  return names;
}

bool may_be_classes(const wire::TensorSpec& output) {
  const auto several = [](std::int64_t dimension) { return dimension >= 0 && dimension != 1; };
  return output.type == wire::DataType::fp32 && std::ranges::count_if(output.shape, several) <= 1 &&
         std::ranges::count(output.shape, 0) == 0;
}

}  // namespace

Result<Classification> read_classification(const wire::Options& options) {
  Classification read;
  for (const auto& [name, given] : options) {
    const auto found = std::ranges::find(known, name, &Option::name);
    if (found == std::end(known)) {
      std::string names;
      for (const Option& option : known) names += " " + std::string(option.name);
      return refused("there is no option \"" + name + "\"; image-classification has" + names);
    }
    if (given.empty()) return refused(name + " is empty");
    if (auto done = found->read(given, read); !done) return std::move(done).error().during(name);
  }
  if (options.contains("crop_pct") && read.resize != Resize::crop) {
    return refused("crop_pct is only for resize: crop");
  }
  return read;
}

Result<TensorForm> picture_form(const wire::Signature& signature, const Classification& options) {
  if (signature.inputs.size() != 1) {
    return refused("the model takes " + std::to_string(signature.inputs.size()) + " inputs (" +
                   names_of(signature.inputs) + "), and image-classification has one picture");
  }
  const wire::TensorSpec& input = signature.inputs.front();
  const bool is_open = input.shape.empty();
  const auto shape = is_open ? std::vector<std::int64_t>(4, -1) : input.shape;
  const bool fits = input.type == wire::DataType::fp32 && shape.size() == 4 && shape[0] <= 1;
  const auto channels = fits && shape[0] != 0 ? channels_in(shape) : std::nullopt;
  if (!channels) return no_picture(input);
  TensorForm form{.layout = channels->layout, .scale = options.scale};
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
  return form;
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
                 ", which is no list of classes: image-classification wants FP32 [1,classes]");
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
