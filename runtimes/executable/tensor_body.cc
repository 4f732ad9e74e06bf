#include "runtimes/executable/tensor_body.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <charconv>
#include <cstdint>

namespace dormouse::executable {
namespace {

namespace json = boost::json;

constexpr std::size_t header_bytes_max = 256 << 10;

Error wrong(std::string what) {
  return {Code::invalid_argument, std::move(what)};
}

Result<std::size_t> number_of(std::string_view text) {
  std::size_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (!text.empty() && error == std::errc() && end == text.data() + text.size()) return number;
  return wrong(std::string(header_length_field) + ": expected a number of bytes");
}

Result<std::vector<std::int64_t>> shape_of(const json::object& input, const std::string& at) {
  const json::value* value = input.if_contains("shape");
  const bool is_list = value != nullptr && value->is_array();
  const auto refused = [&] {
    return wrong(at + ".shape: expected at most 16 lengths, each 0 or more");
  };
  if (!is_list || value->get_array().size() > wire::dimensions_max) return refused();
  std::vector<std::int64_t> shape;
  for (const json::value& each : value->get_array()) {
    if (!each.is_int64() || each.get_int64() < 0) return refused();
    shape.push_back(each.get_int64());
  }
  return shape;
}

Result<std::uint64_t> bytes_of(const json::object& input, const std::string& at) {
  const json::value* parameters = input.if_contains("parameters");
  const json::value* size = parameters != nullptr && parameters->is_object()
                                ? parameters->get_object().if_contains("binary_data_size")
                                : nullptr;
  if (size != nullptr && size->is_int64() && size->get_int64() >= 0) {
    return static_cast<std::uint64_t>(size->get_int64());
  }
  return wrong(at + ".parameters.binary_data_size: expected a number of bytes; values as JSON " +
               "(data) are not taken here");
}

// `offset`: where in the body it begins.
Result<wire::Tensor> tensor_of(const json::value& value, const std::string& at,
                               std::uint64_t offset) {
  if (!value.is_object()) return wrong(at + ": expected an object");
  const json::object& input = value.get_object();
  const json::value* name = input.if_contains("name");
  if (name == nullptr || !name->is_string() || name->get_string().size() > wire::name_bytes_max) {
    return wrong(at + ".name: expected a text of at most 256 bytes");
  }
  const json::value* type_name = input.if_contains("datatype");
  const auto type = type_name != nullptr && type_name->is_string()
                        ? wire::data_type(type_name->get_string())
                        : std::nullopt;
  if (!type) return wrong(at + ".datatype: expected BOOL, UINT8, …, FP32, FP64, BF16 or BYTES");
  auto shape = shape_of(input, at);
  if (!shape) return std::move(shape).error();
  const auto size = bytes_of(input, at);
  if (!size) return size.error();
  return wire::Tensor{{std::string(name->get_string()), *type, std::move(*shape)}, offset, *size};
}

Result<json::array> inputs_of(std::string_view header) {
  boost::system::error_code failure;
  json::value document = json::parse(header, failure);
  if (failure || !document.is_object()) return wrong("its first part is not a JSON object");
  for (const auto& [member, value] : document.get_object()) {
    if (member == "inputs" || member == "id") continue;
    return wrong(std::string(member) + ": not taken here; all outputs are given, as bytes");
  }
  json::value* inputs = document.get_object().if_contains("inputs");
  if (inputs == nullptr || !inputs->is_array() || inputs->get_array().size() > wire::tensors_max) {
    return wrong("inputs: expected a list of at most 256 objects");
  }
  return std::move(inputs->get_array());
}

}  // namespace

Result<std::vector<wire::Tensor>> tensors_of(std::string_view body,
                                             std::string_view header_length) {
  const auto header_bytes = number_of(header_length);
  if (!header_bytes) return header_bytes.error();
  if (*header_bytes > std::min(body.size(), header_bytes_max)) {
    return wrong(std::string(header_length_field) +
                 ": more than the body has, or more than 256 KiB");
  }
  const auto inputs = inputs_of(body.substr(0, *header_bytes));
  if (!inputs) return inputs.error();
  std::vector<wire::Tensor> tensors;
  std::uint64_t offset = *header_bytes;
  for (const json::value& each : *inputs) {
    const std::string at = "inputs[" + std::to_string(tensors.size()) + "]";
    auto tensor = tensor_of(each, at, offset);
    if (!tensor) return std::move(tensor).error();
    if (tensor->size > body.size() - offset) {
      return wrong(at + ".parameters.binary_data_size: more than the body has");
    }
    offset += tensor->size;
    tensors.push_back(std::move(*tensor));
  }
  if (offset != body.size()) return wrong("the body has bytes that belong to no input");
  if (const auto valid = wire::validate(tensors, body.size()); !valid) return valid.error();
  return tensors;
}

std::string outputs_header(std::span<const wire::Tensor> tensors) {
  json::array outputs;
  for (const wire::Tensor& each : tensors) {
    outputs.push_back(
        json::object{{"name", each.spec.name},
                     {"datatype", wire::name(each.spec.type)},
                     {"shape", json::array(each.spec.shape.begin(), each.spec.shape.end())},
                     {"parameters", {{"binary_data_size", each.size}}}});
  }
  return json::serialize(json::object{{"outputs", std::move(outputs)}});
}

}  // namespace dormouse::executable
