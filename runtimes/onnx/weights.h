// Where weights lie in the optimised model's own file of them. ONNX Runtime writes small tensors
// one behind the other; used in place they must begin where vector instructions like it, and large
// ones on a page. The layout follows from the order and sizes alone, so that writer and reader need
// no index: the offsets in the optimised model are not used. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "runtimes/onnx/external_data.h"

namespace dormouse::onnx {

struct Place {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
};

// One for each tensor. The end of the last one is the file's size. invalid_argument if the sum of
// sizes is absurd.
inline Result<std::vector<Place>> layout(std::span<const ExternalTensor> tensors) {
  constexpr std::uint64_t line = 64, page = 4096, large = 32 * 1024, size_max = 1ull << 44;
  std::vector<Place> places;
  std::uint64_t end = 0;
  for (const ExternalTensor& tensor : tensors) {
    const std::uint64_t alignment = tensor.length >= large ? page : line;
    const std::uint64_t offset = (end + alignment - 1) / alignment * alignment;
    if (tensor.length > size_max || offset > size_max) {
      return Error{Code::invalid_argument, "the weights of the model are too large"};
    }
    places.push_back({offset, tensor.length});
    end = offset + tensor.length;
  }
  return places;
}

}  // namespace dormouse::onnx
