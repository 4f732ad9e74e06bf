#include "runtimes/onnx/picture_tensor.h"

namespace dormouse::onnx {
namespace {

// One channel of a pixel that is blue, green, red.
float channel_of(const float* pixel, Colours colours, std::size_t channel) {
  switch (colours) {
    case Colours::grey:  // As Pillow and everyone since television (ITU-R 601) weigh them.
      return 0.114f * pixel[0] + 0.587f * pixel[1] + 0.299f * pixel[2];
    case Colours::rgb: return pixel[2 - channel];
    case Colours::bgr: return pixel[channel];
  }
  return 0;
}

// Where an element lies among those of its tensor.
struct Strides {
  std::size_t row, column, channel;
};

Strides strides(const TensorForm& form) {
  const std::size_t channels = channels_of(form.colours);
  const std::size_t width = form.size.width, height = form.size.height;
  if (form.layout == Layout::nchw) return {width, 1, width * height};
  return {width * channels, channels, 1};
}

}  // namespace

std::vector<std::int64_t> shape_of(const TensorForm& form) {
  const auto channels = static_cast<std::int64_t>(channels_of(form.colours));
  const std::int64_t width = form.size.width, height = form.size.height;
  if (form.layout == Layout::nchw) return {1, channels, height, width};
  return {1, height, width, channels};
}

std::vector<float> picture_tensor(const Picture& picture, const Framing& framing, Sampling sampling,
                                  const TensorForm& form) {
  const auto pixels = resample(
      picture, {framing.part, framing.width, framing.height, sampling.filter, sampling.antialias});
  const Strides stride = strides(form);
  const std::size_t channels = channels_of(form.colours);
  std::vector<float> tensor(std::size_t{form.size.width} * form.size.height * channels);
  for (std::size_t channel = 0; channel < channels; ++channel) {
    const float factor = form.scale / form.deviation[channel];
    const float offset = form.mean[channel] / form.deviation[channel];
    float* const plane = tensor.data() + channel * stride.channel;
    for (std::size_t y = 0; y < form.size.height; ++y) {
      const std::size_t row = y - framing.top;  // Above the picture it wraps: beyond its height.
      for (std::size_t x = 0; x < form.size.width; ++x) {
        const std::size_t column = x - framing.left;
        const bool inside = row < framing.height && column < framing.width;
        const float value =
            inside ? channel_of(&pixels[(row * framing.width + column) * 3], form.colours, channel)
                   : form.border;
        plane[y * stride.row + x * stride.column] = value * factor - offset;
      }
    }
  }
  return tensor;
}

}  // namespace dormouse::onnx
