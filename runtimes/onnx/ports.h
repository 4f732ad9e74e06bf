// A model's inputs and outputs by name, and what their shapes have to do with each other.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "runtimes/onnx/ort.h"
#include "wire/messages.h"

namespace dormouse::onnx {

// The sizes that inputs give to the model's named dimensions: "batch" → 4.
using Dimensions = std::map<std::string, std::int64_t, std::less<>>;

struct Port {
  wire::TensorSpec spec;
  std::vector<std::string> dimension_names;  // Beside spec.shape; "" if it has none.
  bool keeps_its_shape = false;              // Seen to have the shape that was foretold.
  bool breaks_its_shape = false;             // Seen once to have another.

  // That a given tensor fits this input; notes the sizes of named dimensions.
  Result<> accepts(const wire::TensorSpec& given, Dimensions&) const;

  // The shape of this output, if it follows from the inputs'.
  std::optional<std::vector<std::int64_t>> foretold(const Dimensions&) const;
};

enum class Direction : std::uint8_t { input, output };

// Reads a session's inputs or outputs. Outputs that are no tensors are left out, with a note; an
// input that is none is `unsupported`. Throws Ort::Exception.
Result<std::vector<Port>> ports(const Ort::Session&, Direction, wire::Options& notes);

const Port* find(const std::vector<Port>&, std::string_view name);
std::string no_such(std::string_view kind, std::string_view name, const std::vector<Port>&);

}  // namespace dormouse::onnx
