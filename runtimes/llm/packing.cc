#include "runtimes/llm/packing.h"

#include <ggml-cpp.h>

#include <algorithm>
#include <string_view>

#include "base/check.h"

namespace dormouse::llm {
namespace {

constexpr std::int64_t columns = 512;  // As many as llama.cpp asks about.

// What rows are taken out of, by their numbers, and never multiplied with.
bool is_looked_up(std::string_view name) {
  return name.ends_with("_embd.weight") || name == "token_types.weight";
}

std::int64_t size(const GgufTensor& tensor, std::size_t dimension) {
  return static_cast<std::int64_t>(tensor.shape[dimension]);
}

// The multiplication that a weight is for; of a stack of them, by experts.
ggml_tensor* product(ggml_context* in, ggml_tensor* weight) {
  if (weight->ne[2] == 1) {
    return ggml_mul_mat(in, weight, ggml_new_tensor_2d(in, GGML_TYPE_F32, weight->ne[0], columns));
  }
  return ggml_mul_mat_id(in, weight,
                         ggml_new_tensor_3d(in, GGML_TYPE_F32, weight->ne[0], 1, columns),
                         ggml_new_tensor_2d(in, GGML_TYPE_I32, 1, columns));
}

}  // namespace

Packing::Packing() : device_(ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU)) {
  CHECK(device_ != nullptr);
  const auto list =
      reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(ggml_backend_reg_get_proc_address(
          ggml_backend_dev_backend_reg(device_), "ggml_backend_dev_get_extra_bufts"));
  if (list == nullptr) return;
  for (auto* kind = list(device_); kind != nullptr && *kind != nullptr; ++kind) {
    kinds_.push_back(*kind);
  }
}

bool Packing::packs(const GgufTensor& tensor) const {
  const bool is_matrix = tensor.shape[1] > 1 && tensor.shape[3] == 1;
  if (!is_matrix || is_looked_up(tensor.name)) return false;
  return std::ranges::any_of(kinds_, [&](ggml_backend_buffer_type_t kind) {
    constexpr std::size_t tensors = 4;
    const ggml_context_ptr room(
        ggml_init({.mem_size = tensors * ggml_tensor_overhead(), .no_alloc = true}));
    ggml_tensor* const weight =
        ggml_new_tensor_3d(room.get(), static_cast<ggml_type>(tensor.type), size(tensor, 0),
                           size(tensor, 1), size(tensor, 2));
    const ggml_backend_buffer_ptr nothing(ggml_backend_buft_alloc_buffer(kind, 0));
    weight->buffer = nothing.get();
    return ggml_backend_dev_supports_op(device_, product(room.get(), weight));
  });
}

}  // namespace dormouse::llm
