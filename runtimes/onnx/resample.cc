#include "runtimes/onnx/resample.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace dormouse::onnx {
namespace {

constexpr std::size_t channels = 3;

double bilinear(double distance) {
  return std::max(0.0, 1 - std::abs(distance));
}

// Catmull and Rom's: a = -0.5.
double bicubic(double distance) {
  const double x = std::abs(distance);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  if (x < 2) return ((-0.5 * x + 2.5) * x - 4) * x + 2;
  return 0;
}

// The source pixels that one target pixel is made of: `weights` from `first` on.
struct Taps {
  std::size_t first = 0;
  std::vector<float> weights;  // Their sum is 1.
};

struct Axis {
  double begin = 0, end = 0;  // Of the part that is taken.
  std::size_t sources = 0, targets = 0;
};

Taps taps(const Axis& axis, std::size_t target, const Resampling& how) {
  const auto weigh = how.filter == Filter::bilinear ? bilinear : bicubic;
  const double radius = how.filter == Filter::bilinear ? 1 : 2;
  const double scale = (axis.end - axis.begin) / static_cast<double>(axis.targets);
  const double stretched = how.antialias ? std::max(1.0, scale) : 1;
  const double middle = axis.begin + (static_cast<double>(target) + 0.5) * scale;
  const auto within = [&](double at) {
    return static_cast<std::size_t>(std::clamp(at, 0.0, static_cast<double>(axis.sources)));
  };
  const std::size_t first = within(middle - radius * stretched + 0.5);
  const std::size_t end = within(middle + radius * stretched + 0.5);
  std::vector<double> weights;
  double sum = 0;
  for (std::size_t source = first; source < end; ++source) {
    weights.push_back(weigh((static_cast<double>(source) + 0.5 - middle) / stretched));
    sum += weights.back();
  }
  CHECK(sum > 0);
  Taps found{.first = first, .weights = {}};
  for (const double weight : weights) found.weights.push_back(static_cast<float>(weight / sum));
  return found;
}

std::vector<Taps> all_taps(const Axis& axis, const Resampling& how) {
  std::vector<Taps> all;
  for (std::size_t target = 0; target < axis.targets; ++target) {
    all.push_back(taps(axis, target, how));
  }
  return all;
}

// One row of what the rows of `from` come to; of the columns from `first` to `end`.
void mix_rows(const Picture& picture, const Taps& from, std::size_t first, std::size_t end,
              std::span<float> row) {
  std::ranges::fill(row, 0.0f);
  for (std::size_t i = 0; i < from.weights.size(); ++i) {
    const auto source =
        picture.pixels.subspan(((from.first + i) * picture.width + first) * channels);
    const float weight = from.weights[i];
    for (std::size_t at = 0; at < (end - first) * channels; ++at) {
      row[at] += weight * static_cast<float>(source[at]);
    }
  }
}

void mix_columns(std::span<const float> row, const Taps& from, std::size_t first, float* pixel) {
  float sums[channels] = {};
  const float* source = row.data() + (from.first - first) * channels;
  for (const float weight : from.weights) {
    for (std::size_t channel = 0; channel < channels; ++channel) {
      sums[channel] += weight * *source++;
    }
  }
  for (const float sum : sums) *pixel++ = std::clamp(sum, 0.0f, 255.0f);
}

}  // namespace

// Rows first: they lie one behind the other in memory, and those that no target needs are not read.
std::vector<float> resample(const Picture& picture, const Resampling& how) {
  const auto columns = all_taps({how.part.left, how.part.right, picture.width, how.width}, how);
  const Axis vertical{how.part.top, how.part.bottom, picture.height, how.height};
  const std::size_t first = columns.front().first;
  const std::size_t end = columns.back().first + columns.back().weights.size();
  std::vector<float> row((end - first) * channels);
  std::vector<float> out(how.width * how.height * channels);
  float* pixel = out.data();
  for (std::size_t y = 0; y < how.height; ++y) {
    mix_rows(picture, taps(vertical, y, how), first, end, row);
    for (const Taps& column : columns) {
      mix_columns(row, column, first, pixel);
      pixel += channels;
    }
  }
  return out;
}

}  // namespace dormouse::onnx
