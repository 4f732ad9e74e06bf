// What an optimised model was made for: it holds choices that are right for this model, this
// version of ONNX Runtime and processors like this one, and wrong elsewhere.
#pragma once

#include <string>
#include <string_view>

namespace dormouse::onnx {

// "sha256:… onnxruntime-1.30.0 x86_64+avx2+fma+avx512f…"
std::string optimised_key(std::string_view model_digest, std::string_view library_version);

}  // namespace dormouse::onnx
