#include "runtimes/onnx/made_up.h"

#include "base/bytes.h"

namespace dormouse::onnx {
namespace {

// Deterministic, in [-1, 1).
class Noise {
 public:
  float next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<float>(static_cast<std::int32_t>(state_ >> 32)) / 2147483648.0f;
  }

 private:
  std::uint64_t state_ = 42;
};

constexpr std::uint64_t elements_max = 64 << 20;
constexpr std::uint16_t half_of_one = 0x3c00, bfloat_of_one = 0x3f80;

void put_element(std::string& out, wire::DataType type, std::uint8_t integer, Noise& noise) {
  switch (type) {
    case wire::DataType::boolean: put(out, std::uint8_t{1}); return;
    case wire::DataType::uint8:
      put(out, static_cast<std::uint8_t>(128 + noise.next() * 127));
      return;
    case wire::DataType::int8: put(out, static_cast<std::int8_t>(noise.next() * 127)); return;
    case wire::DataType::uint16:
    case wire::DataType::int16: put(out, std::uint16_t{integer}); return;
    case wire::DataType::uint32:
    case wire::DataType::int32: put(out, std::uint32_t{integer}); return;
    case wire::DataType::uint64:
    case wire::DataType::int64: put(out, std::uint64_t{integer}); return;
    case wire::DataType::fp16: put(out, half_of_one); return;
    case wire::DataType::bf16: put(out, bfloat_of_one); return;
    case wire::DataType::fp32: put(out, noise.next()); return;
    case wire::DataType::fp64: put(out, static_cast<double>(noise.next())); return;
    case wire::DataType::bytes: put_sized(out, "a"); return;
  }
}

std::int64_t guessed(const wire::TensorSpec& spec, std::size_t i, const Guess& guess) {
  if (i == 0) return 1;
  const bool is_picture = spec.shape.size() == 4 && i >= 2;
  if (spec.shape.size() == 4 && i == 1) return 3;
  return is_picture ? guess.side : guess.length;
}

}  // namespace

MadeUp made_up(const wire::TensorSpec& spec, const Guess& guess) {
  MadeUp input{spec, {}};
  for (std::size_t i = 0; i < spec.shape.size(); ++i) {
    if (spec.shape[i] < 0) input.spec.shape[i] = guessed(spec, i, guess);
  }
  Noise noise;
  const std::uint64_t count = wire::element_count(input.spec.shape).value_or(0);
  if (count > elements_max) return input;  // Without bytes no model takes it.
  for (std::uint64_t i = 0; i < count; ++i) {
    put_element(input.bytes, spec.type, guess.integer, noise);
  }
  return input;
}

}  // namespace dormouse::onnx
