// How tensors cross the wire: a table that names them, beside a body that holds their bytes, so
// that neither side copies them. Values are row-major and little endian, as in KServe v2's binary
// extension; a BYTES element is a 4-byte length and its bytes. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace dormouse::wire {

enum class DataType : std::uint8_t {
  boolean,
  uint8,
  uint16,
  uint32,
  uint64,
  int8,
  int16,
  int32,
  int64,
  fp16,
  fp32,
  fp64,
  bf16,
  bytes,
};

inline constexpr std::size_t tensors_max = 256;
inline constexpr std::size_t dimensions_max = 16;
inline constexpr std::size_t name_bytes_max = 256;

// KServe v2's names: "BOOL", "UINT8", … "FP32", "BF16", "BYTES".
std::string_view name(DataType);
std::optional<DataType> data_type(std::string_view name);
std::size_t element_size(DataType);  // In bytes; 0 for BYTES, whose elements differ in size.

// What a model takes or gives. A dimension of -1 varies.
struct TensorSpec {
  std::string name;
  DataType type{};
  std::vector<std::int64_t> shape;
  friend bool operator==(const TensorSpec&, const TensorSpec&) = default;
};

struct Signature {
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;
  friend bool operator==(const Signature&, const Signature&) = default;
};

// A tensor in a body: its bytes are body[offset, offset + size).
struct Tensor {
  TensorSpec spec;  // No dimension is negative.
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  friend bool operator==(const Tensor&, const Tensor&) = default;
};

// The number of elements; nullopt if a dimension is negative or the product exceeds 2^62.
std::optional<std::uint64_t> element_count(std::span<const std::int64_t> shape);

// That each tensor lies within `body_size` bytes, that they are together no more than those, and
// that each has as many bytes as shape and type say (BYTES: at least 4 an element). Says which
// tensor is wrong, and how.
Result<> validate(std::span<const Tensor>, std::uint64_t body_size);

std::string encode(const Signature&);
Result<Signature> decode_signature(std::string_view);
std::string encode(std::span<const Tensor>);
Result<std::vector<Tensor>> decode_tensors(std::string_view);  // Bounded; not yet validated.

}  // namespace dormouse::wire
