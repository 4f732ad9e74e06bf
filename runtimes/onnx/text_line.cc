#include "runtimes/onnx/text_line.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace dormouse::onnx {
namespace {

constexpr std::size_t keys_max = 100'000;

float sample(const Picture& picture, std::size_t x, std::size_t y, std::size_t channel) {
  return picture.pixels[(y * picture.width + x) * 3 + channel];
}

// Where a target pixel's middle lies among the source's pixels, and how far between two of them.
struct Between {
  std::size_t low = 0, high = 0;
  float share = 0;  // Of `high`.
};

Between between(std::int64_t target, std::int64_t targets, std::uint32_t sources) {
  const double scale = static_cast<double>(sources) / static_cast<double>(targets);
  const double at = (static_cast<double>(target) + 0.5) * scale - 0.5;
  const double within = std::clamp(at, 0.0, static_cast<double>(sources - 1));
  const auto low = static_cast<std::size_t>(within);
  return {low, std::min<std::size_t>(low + 1, sources - 1),
          static_cast<float>(within - static_cast<double>(low))};
}

float mixed(float low, float high, float share) {
  return low + (high - low) * share;
}

// A character of JSON's text: what must be escaped is, all else stays UTF-8.
void put_escaped(std::string& out, char c) {
  if (c == '"' || c == '\\') out += '\\';
  if (static_cast<unsigned char>(c) >= 0x20) {
    out += c;
    return;
  }
  char escaped[8];
  std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(c));
  out += escaped;
}

}  // namespace

LineInput line_input(const Picture& picture) {
  const double ratio = static_cast<double>(picture.width) / picture.height;
  const auto wanted = static_cast<std::int64_t>(std::ceil(ratio * line_height));
  const std::int64_t scaled = std::clamp<std::int64_t>(wanted, 1, line_width_max);
  LineInput input{.width = std::max(scaled, line_width_min)};
  const auto width = static_cast<std::size_t>(input.width);
  const std::size_t plane = width * line_height;
  input.values.assign(3 * plane, 0.0f);  // Zero is the grey in the middle.
  std::vector<Between> columns;
  for (std::int64_t x = 0; x < scaled; ++x) columns.push_back(between(x, scaled, picture.width));
  for (std::int64_t y = 0; y < line_height; ++y) {
    const Between rows = between(y, line_height, picture.height);
    for (std::size_t x = 0; x < columns.size(); ++x) {
      const Between& c = columns[x];
      for (std::size_t channel = 0; channel < 3; ++channel) {
        const float above = mixed(sample(picture, c.low, rows.low, channel),
                                  sample(picture, c.high, rows.low, channel), c.share);
        const float below = mixed(sample(picture, c.low, rows.high, channel),
                                  sample(picture, c.high, rows.high, channel), c.share);
        input.values[channel * plane + static_cast<std::size_t>(y) * width + x] =
            (mixed(above, below, rows.share) / 255 - 0.5f) / 0.5f;
      }
    }
  }
  return input;
}

Result<std::vector<std::string>> read_keys(Bytes file) {
  std::vector<std::string> keys = {""};
  std::string_view rest = as_text(file);
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    keys.emplace_back(line);
    if (keys.size() > keys_max) return Error{Code::invalid_argument, "too many keys"};
  }
  keys.emplace_back(" ");
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
  std::string out = "{\"text\": \"";
  for (const char c : line.text) put_escaped(out, c);
  char confidence[32];
  const double shown = std::isfinite(line.confidence) ? line.confidence : 0;
  std::snprintf(confidence, sizeof confidence, "%.4f", shown);
  return out + "\", \"confidence\": " + confidence + "}";
}

}  // namespace dormouse::onnx
