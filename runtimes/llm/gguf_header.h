// Whether the header of a GGUF file is what it says, before llama.cpp reads it: every count,
// length, type and offset within the file, no product that wraps. Pure but for the file's pages.
//
// Source  https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; versions 2 and 3.
// Errors  invalid_argument: one line that says what is wrong, and with which key or tensor.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace dormouse::llm {

struct GgufTensor {
  std::string name;
  std::uint32_t type = 0;                          // A ggml_type.
  std::array<std::uint64_t, 4> shape{1, 1, 1, 1};  // As ggml has it: the innermost first.
  std::uint64_t begin = 0;                         // In the file.
  std::uint64_t bytes = 0;
};

struct GgufHeader {
  std::uint32_t version = 0;
  std::uint64_t keys = 0;
  std::uint64_t tensors = 0;
  std::vector<GgufTensor> tensors_in_order;  // By where they begin.
  std::uint64_t tensor_bytes = 0;            // Of all of them.
  std::string architecture;                  // "llama"; "" if it does not say.
};

// `file` is all of it.
Result<GgufHeader> check_gguf(Bytes file);

}  // namespace dormouse::llm
