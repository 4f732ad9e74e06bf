#include "gateway/native.h"

#include <algorithm>
#include <boost/json.hpp>

#include "base/ascii.h"
#include "gateway/json.h"
#include "gateway/tensor_json.h"

namespace dormouse::gateway {
namespace {

Error wrong(std::string what) {
  return {Code::invalid_argument, std::move(what)};
}

std::string known_names(const wire::Signature& signature) {
  if (signature.inputs.empty()) return "none: send {}";
  std::string names;
  for (const wire::TensorSpec& each : signature.inputs) {
    names += (names.empty() ? "" : ", ") + ("\"" + each.name + "\"");
  }
  return names;
}

Result<> add_input(TensorBody& out, const wire::TensorSpec& spec, const json::value& data) {
  auto shape = shape_of(data);
  if (!shape) return wrong("input \"" + spec.name + "\" " + shape.error().message);
  if (!fits(*shape, spec)) {
    return wrong("input \"" + spec.name + "\" wants the shape " + text(spec.shape) +
                 " (-1: any length), and got " + text(*shape));
  }
  auto tensor = put_tensor(out.bytes, {spec.name, spec.type, std::move(*shape)}, data);
  if (!tensor) return std::move(tensor).error();
  out.tensors.push_back(std::move(*tensor));
  return ok;
}

}  // namespace

Result<TensorBody> tensors_from_native(std::string_view text, const wire::Signature& signature) {
  const auto document = parse_json(text, tensor_json_limits);
  if (!document) return document.error();
  TensorBody out;
  const auto* object = document->if_object();
  if (object == nullptr) {
    if (signature.inputs.empty()) return wrong("there are no inputs: send {}");
    if (signature.inputs.size() != 1) {
      return wrong("send an object with the inputs " + known_names(signature));
    }
    const auto added = add_input(out, signature.inputs.front(), *document);
    if (!added) return added.error();
    return out;
  }
  for (const auto& [key, _] : *object) {
    const std::string_view name(key.data(), key.size());
    if (std::ranges::find(signature.inputs, name, &wire::TensorSpec::name) ==
        signature.inputs.end()) {
      return wrong("there is no input \"" + std::string(name) + "\"; there are " +
                   known_names(signature));
    }
  }
  for (const wire::TensorSpec& spec : signature.inputs) {
    const auto* data = object->if_contains(spec.name);
    if (data == nullptr) return wrong("input \"" + spec.name + "\" is missing");
    const auto added = add_input(out, spec, *data);
    if (!added) return added.error();
  }
  return out;
}

Result<std::string> native_from_tensors(const std::vector<wire::Tensor>& tensors,
                                        std::string_view bytes) {
  std::string out = "{";
  for (const wire::Tensor& each : tensors) {
    if (out.size() > 1) out += ", ";
    append_json_string(out, each.spec.name);
    out += ": ";
    const auto added =
        append_json(out, each.spec, bytes.substr(each.offset, each.size), Layout::nested);
    if (!added) return added.error();
  }
  return out + "}\n";
}

bool is_json(std::string_view content_type) {
  return is_media_type(content_type, "application/json");
}

}  // namespace dormouse::gateway
