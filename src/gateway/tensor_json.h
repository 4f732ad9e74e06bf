// Tensors as JSON numbers, strings and booleans, flat or nested, row-major. Pure.
//
// Values are checked against the type: an integer that does not fit, a fraction for an integer
// type, a string for a number is invalid_argument and says which tensor. FP16 and BF16 are rounded
// to nearest even. NaN and infinities have no JSON form and are written as null.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "gateway/json.h"
#include "wire/tensors.h"

namespace dormouse::gateway {

// A body's size bounds its numbers: this only keeps a parsed one from taking gigabytes.
inline constexpr JsonLimits tensor_json_limits{.values_max = 32 << 20};

// The bytes of one tensor, appended to `body` at the next multiple of tensor_alignment; its place.
inline constexpr std::size_t tensor_alignment = 64;
Result<wire::Tensor> put_tensor(std::string& body, const wire::TensorSpec& spec,
                                const boost::json::value& data);

// The shape that nested arrays have: [[1,2],[3,4]] → {2, 2}. A bare value has shape {}.
// invalid_argument if rows differ in length.
Result<std::vector<std::int64_t>> shape_of(const boost::json::value& data);

// Whether `shape` is one that `spec` takes: the same rank, and the same where a dimension is fixed.
// A model may leave its rank open, which reads as no dimensions: then what fits is its to say.
bool fits(const std::vector<std::int64_t>& shape, const wire::TensorSpec& spec);
std::string text(const std::vector<std::int64_t>& shape);  // "[1, -1, 3]"

enum class Layout : std::uint8_t { flat, nested };
// Appends the tensor's values as a JSON array. `bytes` are exactly the tensor's own, and valid.
Result<> append_json(std::string& out, const wire::TensorSpec& spec, std::string_view bytes,
                     Layout);

void append_json_string(std::string& out, std::string_view text);  // Quoted; always valid UTF-8.

}  // namespace dormouse::gateway
