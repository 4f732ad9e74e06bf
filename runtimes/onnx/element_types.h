// ONNX Runtime's element types and the wire's, one table.
#pragma once

#include <onnxruntime_c_api.h>

#include <optional>

#include "wire/tensors.h"

namespace dormouse::onnx {

struct ElementType {
  ONNXTensorElementDataType ort;
  wire::DataType wire;
};

inline constexpr ElementType element_types[] = {
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL, wire::DataType::boolean},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, wire::DataType::uint8},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16, wire::DataType::uint16},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32, wire::DataType::uint32},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64, wire::DataType::uint64},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8, wire::DataType::int8},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16, wire::DataType::int16},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, wire::DataType::int32},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, wire::DataType::int64},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, wire::DataType::fp16},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, wire::DataType::fp32},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE, wire::DataType::fp64},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16, wire::DataType::bf16},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING, wire::DataType::bytes},
};

// nullopt for what the wire does not carry: complex numbers, 8-bit floats, 4-bit integers.
constexpr std::optional<wire::DataType> wire_type(ONNXTensorElementDataType type) {
  for (const ElementType& row : element_types) {
    if (row.ort == type) return row.wire;
  }
  return std::nullopt;
}

constexpr ONNXTensorElementDataType ort_type(wire::DataType type) {
  for (const ElementType& row : element_types) {
    if (row.wire == type) return row.ort;
  }
  CHECK_UNREACHABLE("every type of the wire has one of ONNX Runtime's");
}

}  // namespace dormouse::onnx
