// BYTES tensors: a 32-bit length and the bytes, element by element. Pure.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace dormouse::onnx {

// The `count` elements of `bytes`, which they must fill exactly; nullopt if they do not.
inline std::optional<std::vector<std::string_view>> read_strings(Bytes bytes, std::uint64_t count) {
  if (count > bytes.size() / 4) return std::nullopt;
  std::vector<std::string_view> strings;
  strings.reserve(count);
  Reader reader(as_text(bytes));
  for (std::uint64_t i = 0; i < count && reader.ok(); ++i) strings.push_back(reader.get_sized());
  if (!reader.complete()) return std::nullopt;
  return strings;
}

}  // namespace dormouse::onnx
