#include "runtimes/onnx/classification_options.h"

#include <algorithm>
#include <charconv>
#include <cmath>

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

template <class Value, std::size_t N, class Into>
Result<> choose(std::string_view given, const std::pair<std::string_view, Value> (&choices)[N],
                Into& into) {
  std::string allowed;
  for (const auto& [word, value] : choices) {
    if (given == word) {
      into = value;
      return ok;
    }
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
  return choose(given, choices, into.resize);
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
  return choose(given, choices, into.interpolation);
}

Result<> read_channel_order(std::string_view given, Classification& into) {
  constexpr std::pair<std::string_view, Colours> choices[] = {{"rgb", Colours::rgb},
                                                              {"bgr", Colours::bgr}};
  return choose(given, choices, into.channel_order);
}

Result<> read_scale(std::string_view given, Classification& into) {
  const auto scale = static_cast<float>(number(given).value_or(0));
  if (!std::isnormal(scale) || std::abs(scale) > 1e6f) {
    return not_allowed(given, "a number but 0, as 1/255 or 0.0039216");
  }
  into.scale = scale;
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
  const auto divides = [](float number) { return std::isnormal(number); };
  if (!deviation || !std::ranges::all_of(*deviation, divides)) {
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
  return choose(given, choices, into.activation);
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

Error unknown_option(std::string_view name) {
  std::string why = "there is no option \"";
  why.append(name).append("\"; image-classification has");
  for (const Option& option : known) why.append(" ").append(option.name);
  return refused(std::move(why));
}

}  // namespace

Result<Classification> read_classification(const wire::Options& options) {
  Classification read;
  for (const auto& [name, given] : options) {
    const auto found = std::ranges::find(known, name, &Option::name);
    if (found == std::end(known)) return unknown_option(name);
    if (given.empty()) return refused(name + " is empty");
    if (auto done = found->read(given, read); !done) return std::move(done).error().during(name);
  }
  if (options.contains("crop_pct") && read.resize != Resize::crop) {
    return refused("crop_pct is only for resize: crop");
  }
  return read;
}

}  // namespace dormouse::onnx
