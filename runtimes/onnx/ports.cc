#include "runtimes/onnx/ports.h"

#include <algorithm>

#include "runtimes/onnx/element_types.h"
#include "runtimes/onnx/tensor_text.h"

namespace dormouse::onnx {
namespace {

Result<Port> tensor_port(std::string name, const Ort::TypeInfo& type) {
  const auto tensor = type.GetTensorTypeAndShapeInfo();
  const auto element = wire_type(tensor.GetElementType());
  if (!element) {
    return Error{Code::unsupported, "\"" + name + "\" has an element type (ONNX's " +
                                        std::to_string(tensor.GetElementType()) +
                                        ") that cannot be carried"};
  }
  auto shape = tensor.GetShape();
  if (shape.size() > wire::dimensions_max) {
    return Error{Code::unsupported, "\"" + name + "\" has " + std::to_string(shape.size()) +
                                        " dimensions, and at most " +
                                        std::to_string(wire::dimensions_max) + " can be carried"};
  }
  Port port{.spec = {std::move(name), *element, std::move(shape)}};
  std::vector<const char*> names(port.spec.shape.size());
  if (!names.empty()) tensor.GetSymbolicDimensions(names.data(), names.size());
  for (const char* const dimension : names) {
    port.dimension_names.emplace_back(dimension == nullptr ? "" : dimension);
  }
  return port;
}

}  // namespace

Result<> Port::accepts(const wire::TensorSpec& given, Dimensions& dimensions) const {
  const auto wrong = [&](const std::string& why) {
    return Error{Code::invalid_argument, "input \"" + spec.name + "\": expected " + describe(spec) +
                                             ", got " + describe(given) + why};
  };
  if (given.type != spec.type) return wrong("");
  // A model may leave the number of dimensions open, which reads as none.
  if (spec.shape.empty()) return ok;
  if (given.shape.size() != spec.shape.size()) return wrong("");
  for (std::size_t i = 0; i < given.shape.size(); ++i) {
    if (spec.shape[i] >= 0 && spec.shape[i] != given.shape[i]) return wrong("");
    if (spec.shape[i] >= 0 || dimension_names[i].empty()) continue;
    const auto [known, is_first] = dimensions.emplace(dimension_names[i], given.shape[i]);
    if (!is_first && known->second != given.shape[i]) {
      return wrong(", but \"" + known->first + "\" is " + std::to_string(known->second) +
                   " in another input");
    }
  }
  return ok;
}

std::optional<std::vector<std::int64_t>> Port::foretold(const Dimensions& dimensions) const {
  if (spec.shape.empty() || spec.type == wire::DataType::bytes) return std::nullopt;
  std::vector<std::int64_t> shape = spec.shape;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] >= 0) continue;
    const auto known = dimensions.find(dimension_names[i]);
    if (known == dimensions.end()) return std::nullopt;
    shape[i] = known->second;
  }
  return shape;
}

Result<std::vector<Port>> ports(const Ort::Session& session, Direction direction,
                                wire::Options& notes) {
  const bool in = direction == Direction::input;
  const Ort::AllocatorWithDefaultOptions allocator;
  const std::size_t count = in ? session.GetInputCount() : session.GetOutputCount();
  std::vector<Port> found;
  for (std::size_t i = 0; i < count; ++i) {
    const auto raw = in ? session.GetInputNameAllocated(i, allocator)
                        : session.GetOutputNameAllocated(i, allocator);
    const std::string name = raw.get();
    const auto type = in ? session.GetInputTypeInfo(i) : session.GetOutputTypeInfo(i);
    if (name.size() > wire::name_bytes_max) {
      return Error{Code::unsupported, "a name of more than 256 bytes: " + name.substr(0, 60)};
    }
    if (type.GetONNXType() != ONNX_TYPE_TENSOR) {
      if (in) return Error{Code::unsupported, "input \"" + name + "\" is not a tensor"};
      notes["left out: " + name] = "this output is not a tensor";
      continue;
    }
    auto port = tensor_port(name, type);
    if (!port) return std::move(port).error().during(in ? "input" : "output");
    found.push_back(std::move(*port));
  }
  if (found.size() > wire::tensors_max || (found.empty() && !in)) {
    return Error{Code::unsupported, "the model has " + std::to_string(found.size()) +
                                        (in ? " inputs" : " outputs") + " that are tensors"};
  }
  return found;
}

const Port* find(const std::vector<Port>& ports, std::string_view name) {
  const auto found =
      std::ranges::find_if(ports, [&](const Port& p) { return p.spec.name == name; });
  return found == ports.end() ? nullptr : &*found;
}

std::string no_such(std::string_view kind, std::string_view name, const std::vector<Port>& ports) {
  std::string text =
      "the model has no " + std::string(kind) + " \"" + std::string(name) + "\"; it has";
  for (const Port& port : ports) text += " \"" + port.spec.name + "\"";
  return text;
}

}  // namespace dormouse::onnx
