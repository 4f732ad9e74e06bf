#include "runtimes/onnx/optimised_key.h"

namespace dormouse::onnx {
namespace {

// The features by which ONNX Runtime chooses kernels and layouts.
std::string processor() {
#if defined(__x86_64__)
  std::string text = "x86_64";
  __builtin_cpu_init();
#define ADD_FEATURE(name) \
  if (__builtin_cpu_supports(name)) text += "+" name
  ADD_FEATURE("sse4.1");
  ADD_FEATURE("avx");
  ADD_FEATURE("avx2");
  ADD_FEATURE("fma");
  ADD_FEATURE("avx512f");
  ADD_FEATURE("avx512dq");
  ADD_FEATURE("avx512bw");
  ADD_FEATURE("avx512vl");
  ADD_FEATURE("avx512vnni");
  ADD_FEATURE("avx512bf16");
  ADD_FEATURE("avxvnni");
  ADD_FEATURE("amx-int8");
#undef ADD_FEATURE
  return text;
#elif defined(__aarch64__)
  return "aarch64";
#else
#error "which processors are alike is not known for this architecture"
#endif
}

}  // namespace

std::string optimised_key(std::string_view model_digest, std::string_view library_version) {
  return std::string(model_digest) + " onnxruntime-" + std::string(library_version) + " " +
         processor();
}

}  // namespace dormouse::onnx
