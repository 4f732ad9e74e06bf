// dormouse's own dialect: POST /f/{name}. What the client sends is what the function gets, byte for
// byte, with its content type, and likewise back; except that a model of raw tensors also takes and
// gives JSON. Pure.
//
//   {"x": [[1, 2], [3, 4]]}   an object of inputs by name, values nested as the shape is
//   [[1, 2], [3, 4]]          the same, for a model with one input
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "wire/messages.h"

namespace dormouse::gateway {

struct TensorBody {
  std::vector<wire::Tensor> tensors;
  std::string bytes;
};

// invalid_argument names the input, what it wants and what it got.
Result<TensorBody> tensors_from_native(std::string_view text, const wire::Signature&);
Result<std::string> native_from_tensors(const std::vector<wire::Tensor>&, std::string_view bytes);

// "application/json; charset=utf-8" is JSON too.
bool is_json(std::string_view content_type);

}  // namespace dormouse::gateway
