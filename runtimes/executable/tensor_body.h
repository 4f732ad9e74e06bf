// Tensors over HTTP, as bodies of two parts: JSON that names them, then their bytes, one after the
// other. It is KServe v2 with its binary tensor extension, where no value is ever JSON; the header
// field Inference-Header-Content-Length says where the second part begins. Pure.
// Source: github.com/triton-inference-server/server, extension_binary_data.md
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "wire/tensors.h"

namespace dormouse::executable {

inline constexpr std::string_view header_length_field = "Inference-Header-Content-Length";

// Of a request, {"inputs": [{"name", "datatype", "shape", "parameters": {"binary_data_size"}}]}:
// where its tensors lie in the body. `header_length`: the field, as it came. invalid_argument says
// which member is wrong.
Result<std::vector<wire::Tensor>> tensors_of(std::string_view body, std::string_view header_length);

// The first part of an answer, {"outputs": [...]}, behind which the tensors' bytes follow.
std::string outputs_header(std::span<const wire::Tensor>);

}  // namespace dormouse::executable
