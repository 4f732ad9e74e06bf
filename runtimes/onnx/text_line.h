// The task `text-line`: a picture of one line of text becomes the text, by a recognition model in
// PaddleOCR's manner. The picture is scaled to a height of 48, its width by the same factor, and
// normalised; the model gives, for each narrow column, how likely each character is; repeats and
// blanks between them fall away (CTC, the likeliest at each step). Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "runtimes/onnx/framing.h"
#include "runtimes/onnx/picture_tensor.h"
#include "wire/tensors.h"

namespace dormouse::onnx {

inline constexpr std::uint32_t line_height = 48;
inline constexpr std::uint32_t line_width_min = 320;   // Narrower lines are padded.
inline constexpr std::uint32_t line_width_max = 3200;  // Wider ones are squeezed.

// How a picture becomes what the model takes: [1, 3, 48, width].
struct LineInput {
  Framing framing;
  TensorForm form;
};
LineInput line_input(Extent picture);
inline constexpr Sampling line_sampling = {.antialias = false};

// How many characters the model tells apart, by its signature; 0 if that leaves it open.
// invalid_argument if it takes something else than FP32 [1,3,48,width], whatever the width, or
// gives something else than FP32 [1,steps,characters].
Result<std::size_t> characters_of(const wire::Signature&);

// The characters that the model tells apart: blank, those of the file, a line each, and a space.
// invalid_argument if the file has over 100,000 lines, or one that is not UTF-8.
Result<std::vector<std::string>> read_keys(Bytes file);

struct TextLine {
  std::string text;
  double confidence = 0;  // The mean over the characters; 0 if there are none.
};

// `shape` is the model's answer's: [1, steps, keys]. function_failed if it is another, or if one of
// the values is not a number.
Result<TextLine> read_line(std::span<const std::int64_t> shape, std::span<const float> values,
                           const std::vector<std::string>& keys);

// {"text": "…", "confidence": 0.98}
std::string to_json(const TextLine&);

}  // namespace dormouse::onnx
