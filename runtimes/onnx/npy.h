// NumPy's .npy files, versions 1 and 2: one array, as numpy.save writes it. Bounded: the header is
// at most 4 KiB. Only little-endian, C-order arrays of numbers and booleans; others are
// `unsupported`. Nothing is evaluated: the header is read as the literal it is. Pure.
#pragma once

#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "wire/tensors.h"

namespace dormouse::onnx {

inline constexpr std::string_view npy_type = "application/x-npy";

struct Npy {
  wire::TensorSpec spec;     // Without a name.
  std::uint64_t offset = 0;  // Of the values, which go to the end.
};

Result<Npy> parse_npy(Bytes);

// What goes before the values; a multiple of 64 bytes long. `unsupported` for types that npy has
// none for.
Result<std::string> npy_header(const wire::TensorSpec&);

}  // namespace dormouse::onnx
