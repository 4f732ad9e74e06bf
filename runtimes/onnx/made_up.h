// Inputs for a model whose user is not there yet, to measure it on. Pure.
#pragma once

#include <string>
#include <vector>

#include "wire/tensors.h"

namespace dormouse::onnx {

// Sizes for dimensions that vary: the first of a tensor is taken for a batch and gets 1, the last
// two of four for a picture's; and what numbers that may be indices are.
struct Guess {
  std::int64_t side = 0;
  std::int64_t length = 0;
  std::uint8_t integer = 0;
};

inline constexpr Guess guesses[] = {{224, 64, 1}, {224, 64, 0}, {320, 16, 1}, {64, 16, 0},
                                    {32, 8, 0},   {16, 2, 0},   {1, 1, 0}};

struct MadeUp {
  wire::TensorSpec spec;
  std::string bytes;
};

MadeUp made_up(const wire::TensorSpec&, const Guess&);

}  // namespace dormouse::onnx
