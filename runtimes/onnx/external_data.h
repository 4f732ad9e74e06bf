// Where an ONNX model says that weights lie outside of it: read out of the protobuf bytes before
// ONNX Runtime sees them, so that it is never the first to follow a path that a stranger wrote. And
// whether it draws random numbers.
//
// A model is a protobuf message; only the fields that lead to tensors are followed, through
// functions, subgraphs and sparse tensors too. Bounded: nesting, tensors and dimensions have
// maxima, and nothing is allocated that the input does not hold. Stricter than protobuf where that
// is simpler (no groups, no overlong tags), never laxer. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace dormouse::onnx {

struct Range {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  friend bool operator==(const Range&, const Range&) = default;
};

struct ExternalTensor {
  std::string name;
  std::int32_t element_type = 0;  // TensorProto.DataType
  std::vector<std::int64_t> shape;
  std::string location;              // As written, unchecked.
  std::uint64_t offset = 0;          // 0 if not given.
  std::uint64_t length = 0;          // 0 if not given: to the end of the file.
  std::vector<Range> packed;         // The same as kernels read it, if ONNX Runtime saved that.
  bool is_main_initializer = false;  // Of the main graph; otherwise of a subgraph or an attribute.
  friend bool operator==(const ExternalTensor&, const ExternalTensor&) = default;
};

inline constexpr std::size_t external_tensors_max = 100'000;

// invalid_argument if the bytes are not a well-formed model, or name one thing in two ways.
Result<std::vector<ExternalTensor>> external_tensors(Bytes model);

// The type of a node that draws random numbers, "" if none does. invalid_argument as above.
Result<std::string> random_operator(Bytes model);

}  // namespace dormouse::onnx
