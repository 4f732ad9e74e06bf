#include "gateway/kserve.h"

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>

#include "base/utf8.h"
#include "gateway/json.h"
#include "gateway/tensor_json.h"

namespace dormouse::gateway {
namespace {

Error wrong(std::string what) {
  return {Code::invalid_argument, std::move(what)};
}

std::string in_quotes(std::string_view name) {
  return "\"" + std::string(name) + "\"";
}

const json::value* parameter(const json::object& owner, std::string_view name) {
  const auto* parameters = owner.if_contains("parameters");
  if (parameters == nullptr || !parameters->is_object()) return nullptr;
  return parameters->get_object().if_contains(name);
}

bool is_true(const json::value* value) {
  return value != nullptr && value->is_bool() && value->get_bool();
}

Result<std::string> string_member(const json::object& owner, std::string_view member,
                                  std::string_view where) {
  const auto* value = owner.if_contains(member);
  if (value == nullptr || !value->is_string()) {
    return wrong(std::string(where) + "." + std::string(member) + " must be a string");
  }
  return std::string(value->get_string());
}

Result<std::vector<std::int64_t>> shape_member(const json::object& input, const std::string& name) {
  const auto* value = input.if_contains("shape");
  std::vector<std::int64_t> shape;
  const auto refuse = [&] {
    return wrong("input " + in_quotes(name) +
                 ": shape must be an array of lengths, 0 or more, of at "
                 "most 16 dimensions");
  };
  if (value == nullptr || !value->is_array()) return refuse();
  if (value->get_array().size() > wire::dimensions_max) return refuse();
  for (const json::value& each : value->get_array()) {
    if (!each.is_int64() || each.get_int64() < 0) return refuse();
    shape.push_back(each.get_int64());
  }
  return shape;
}

// What the request says an input is, held against what the model takes.
Result<wire::TensorSpec> described(const json::object& input, const wire::Signature& signature) {
  auto name = string_member(input, "name", "inputs[]");
  if (!name) return std::move(name).error();
  const auto known = std::ranges::find(signature.inputs, *name, &wire::TensorSpec::name);
  if (known == signature.inputs.end()) return wrong("the model has no input " + in_quotes(*name));
  const auto type_name = string_member(input, "datatype", "inputs[]");
  if (!type_name) return type_name.error();
  const auto type = wire::data_type(*type_name);
  if (!type)
    return wrong("input " + in_quotes(*name) + ": unknown datatype " + in_quotes(*type_name));
  if (*type != known->type) {
    return wrong("input " + in_quotes(*name) + " wants the datatype " +
                 std::string(wire::name(known->type)) + ", and got " + *type_name);
  }
  auto shape = shape_member(input, *name);
  if (!shape) return std::move(shape).error();
  if (!fits(*shape, *known)) {
    return wrong("input " + in_quotes(*name) + " wants the shape " + text(known->shape) +
                 " (-1: any length), and got " + text(*shape));
  }
  return wire::TensorSpec{std::move(*name), *type, std::move(*shape)};
}

// Reads one body's inputs: values in JSON, or bytes behind it that are taken in turn.
class Inputs {
 public:
  Inputs(std::string_view binary, const wire::Signature& signature)
      : binary_(binary), signature_(signature) {}

  Result<> add(const json::value& value) {
    if (!value.is_object()) return wrong("inputs[] must be objects");
    const json::object& input = value.get_object();
    auto spec = described(input, signature_);
    if (!spec) return std::move(spec).error();
    if (std::ranges::any_of(read_,
                            [&](const Read& each) { return each.spec.name == spec->name; })) {
      return wrong("input " + in_quotes(spec->name) + " is there twice");
    }
    const auto* size = parameter(input, "binary_data_size");
    const auto* data = input.if_contains("data");
    if ((size == nullptr) == (data == nullptr)) {
      return wrong("input " + in_quotes(spec->name) +
                   " must have either data or the parameter binary_data_size");
    }
    if (data != nullptr) {
      if (!data->is_array())
        return wrong("input " + in_quotes(spec->name) + ": data must be an array");
      read_.push_back({std::move(*spec), {}, data});
      return ok;
    }
    if (!size->is_int64() || size->get_int64() < 0 ||
        static_cast<std::uint64_t>(size->get_int64()) > binary_.size() - taken_) {
      return wrong("input " + in_quotes(spec->name) +
                   ": binary_data_size must be a number of bytes that the body has");
    }
    const auto bytes = static_cast<std::size_t>(size->get_int64());
    read_.push_back({std::move(*spec), {taken_, bytes}, nullptr});
    taken_ += bytes;
    return ok;
  }

  Result<> finish(InferRequest& out, std::uint64_t copy_bytes_max) const {
    for (const wire::TensorSpec& each : signature_.inputs) {
      const auto named = [&](const Read& read) { return read.spec.name == each.name; };
      if (std::ranges::none_of(read_, named)) {
        return wrong("input " + in_quotes(each.name) + " is missing");
      }
    }
    if (taken_ != binary_.size()) return wrong("the body has bytes that belong to no input");
    out.in_place =
        !read_.empty() && std::ranges::all_of(read_, [](const Read& each) { return !each.data; });
    out.is_unfinished = !out.in_place && binary_.size() > copy_bytes_max;
    if (out.is_unfinished) return ok;
    for (const Read& each : read_) {
      auto tensor = place(each, out);
      if (!tensor) return std::move(tensor).error();
      out.tensors.push_back(std::move(*tensor));
    }
    return wire::validate(out.tensors, out.in_place ? binary_.size() : out.bytes.size());
  }

 private:
  struct Range {
    std::size_t offset = 0, size = 0;
  };
  struct Read {
    wire::TensorSpec spec;
    Range range;
    const json::value* data;
  };

  Result<wire::Tensor> place(const Read& read, InferRequest& out) const {
    if (read.data != nullptr) return put_tensor(out.bytes, read.spec, *read.data);
    if (out.in_place) return wire::Tensor{read.spec, read.range.offset, read.range.size};
    out.bytes.resize((out.bytes.size() + tensor_alignment - 1) / tensor_alignment *
                     tensor_alignment);
    const std::size_t offset = out.bytes.size();
    out.bytes.append(binary_.substr(read.range.offset, read.range.size));
    return wire::Tensor{read.spec, offset, read.range.size};
  }

  std::string_view binary_;
  const wire::Signature& signature_;
  std::vector<Read> read_;
  std::size_t taken_ = 0;
};

Result<> read_outputs(const json::object& document, const wire::Signature& signature,
                      InferRequest& out) {
  const auto* outputs = document.if_contains("outputs");
  if (outputs == nullptr) return ok;
  if (!outputs->is_array() || outputs->get_array().size() > wire::tensors_max) {
    return wrong("outputs must be an array of at most 256 objects");
  }
  for (const json::value& each : outputs->get_array()) {
    if (!each.is_object()) return wrong("outputs[] must be objects");
    auto name = string_member(each.get_object(), "name", "outputs[]");
    if (!name) return std::move(name).error();
    if (std::ranges::find(signature.outputs, *name, &wire::TensorSpec::name) ==
        signature.outputs.end()) {
      return wrong("the model has no output " + in_quotes(*name));
    }
    if (std::ranges::find(out.outputs, *name) != out.outputs.end()) {
      return wrong("output " + in_quotes(*name) + " is there twice");
    }
    const auto* binary = parameter(each.get_object(), "binary_data");
    if (binary != nullptr && binary->is_bool()) out.binary_outputs[*name] = binary->get_bool();
    out.outputs.push_back(std::move(*name));
  }
  return ok;
}

// The whole body is the one input's bytes; a length that varies follows from their number.
Result<InferRequest> parse_raw(std::string_view body, const wire::Signature& signature) {
  if (signature.inputs.size() != 1) {
    return wrong("a raw body needs a model with one input, this one has " +
                 std::to_string(signature.inputs.size()));
  }
  wire::TensorSpec spec = signature.inputs.front();
  const std::size_t size = wire::element_size(spec.type);
  if (size == 0) return wrong("a raw body cannot hold the datatype BYTES");
  const auto varying = std::ranges::count_if(spec.shape, [](auto each) { return each < 0; });
  if (varying > 1) return wrong("a raw body needs a model with at most one length that varies");
  std::vector<std::int64_t> fixed = spec.shape;
  std::ranges::replace(fixed, -1, 1);
  const auto count = wire::element_count(fixed);
  if (!count || *count == 0 || body.size() % (*count * size) != 0) {
    return wrong("the body's " + std::to_string(body.size()) + " bytes do not fit the shape " +
                 text(spec.shape));
  }
  std::ranges::replace(spec.shape, -1, static_cast<std::int64_t>(body.size() / (*count * size)));
  InferRequest out{.tensors = {{std::move(spec), 0, body.size()}}, .in_place = true};
  out.all_binary = true;
  const auto valid = wire::validate(out.tensors, body.size());
  if (!valid) return valid.error();
  return out;
}

json::array specs_json(const std::vector<wire::TensorSpec>& specs) {
  json::array all;
  for (const wire::TensorSpec& spec : specs) {
    json::object each{{"name", valid_utf8(spec.name)},
                      {"datatype", wire::name(spec.type)},
                      {"shape", json::array(spec.shape.begin(), spec.shape.end())}};
    all.push_back(std::move(each));
  }
  return all;
}

}  // namespace

Result<std::optional<std::uint64_t>> header_length(const http::Fields& fields) {
  const auto text = fields.find("Inference-Header-Content-Length");
  if (!text) return std::optional<std::uint64_t>();
  std::uint64_t value = 0;
  const auto [end, failure] = std::from_chars(text->data(), text->data() + text->size(), value);
  const bool is_number = failure == std::errc{} && end == text->data() + text->size();
  if (!is_number) return wrong("Inference-Header-Content-Length must be a number");
  return std::optional(value);
}

Result<InferRequest> parse_infer(std::string_view body, std::optional<std::uint64_t> header_length,
                                 const wire::Signature& signature, std::uint64_t copy_bytes_max) {
  if (header_length == std::uint64_t{0}) return parse_raw(body, signature);
  if (header_length && *header_length > body.size()) {
    return wrong("Inference-Header-Content-Length says more than the body has");
  }
  const std::size_t header_size = header_length.value_or(body.size());
  const auto document = parse_json(body.substr(0, header_size), tensor_json_limits);
  if (!document) return document.error();
  if (!document->is_object()) return wrong("an infer request is a JSON object");
  const json::object& object = document->get_object();
  InferRequest out;
  if (const auto* id = object.if_contains("id")) {
    if (!id->is_string()) return wrong("id must be a string");
    out.id = std::string(id->get_string());
  }
  out.all_binary = is_true(parameter(object, "binary_data_output"));
  const auto* inputs = object.if_contains("inputs");
  if (inputs == nullptr || !inputs->is_array() || inputs->get_array().size() > wire::tensors_max) {
    return wrong("inputs must be an array of at most 256 objects");
  }
  Inputs reader(body.substr(header_size), signature);
  for (const json::value& each : inputs->get_array()) {
    const auto added = reader.add(each);
    if (!added) return added.error();
  }
  const auto finished = reader.finish(out, copy_bytes_max);
  if (!finished) return finished.error();
  const auto chosen = read_outputs(object, signature, out);
  if (!chosen) return chosen.error();
  return out;
}

std::uint64_t bytes_as_json(const InferRequest& request, const std::vector<wire::Tensor>& tensors) {
  std::uint64_t bytes = 0;
  for (const wire::Tensor& each : tensors) {
    if (!request.wants_binary(each.spec.name)) bytes += each.size;
  }
  return bytes;
}

Result<InferResponse> infer_response(const InferRequest& request, std::string_view model,
                                     int version, const std::vector<wire::Tensor>& tensors,
                                     std::string_view bytes) {
  InferResponse out;
  std::string& json = out.header;
  json = "{\"model_name\":";
  append_json_string(json, model);
  json += ",\"model_version\":\"" + std::to_string(version) + "\"";
  if (request.id) {
    json += ",\"id\":";
    append_json_string(json, *request.id);
  }
  json += ",\"outputs\":[";
  for (const wire::Tensor& each : tensors) {
    if (json.back() != '[') json += ',';
    json += "{\"name\":";
    append_json_string(json, each.spec.name);
    json += ",\"datatype\":\"" + std::string(wire::name(each.spec.type)) +
            "\",\"shape\":" + text(each.spec.shape);
    if (request.wants_binary(each.spec.name)) {
      json += ",\"parameters\":{\"binary_data_size\":" + std::to_string(each.size) + "}}";
      out.binary.push_back(each);
      continue;
    }
    json += ",\"data\":";
    const auto added =
        append_json(json, each.spec, bytes.substr(each.offset, each.size), Layout::flat);
    if (!added) return added.error();
    json += '}';
  }
  json += "]}";
  return out;
}

std::string model_readiness(std::string_view model, std::string_view why_not) {
  json::object said{{"name", model}, {"ready", why_not.empty()}};
  if (!why_not.empty()) said["error"] = valid_utf8(why_not);
  return json::serialize(said);
}

std::string model_metadata(std::string_view model, std::span<const std::string> versions,
                           const wire::Ready& ready) {
  json::object out{{"name", model},
                   {"versions", json::array(versions.begin(), versions.end())},
                   {"platform", valid_utf8(ready.platform)},
                   {"inputs", specs_json(ready.signature.inputs)},
                   {"outputs", specs_json(ready.signature.outputs)}};
  return json::serialize(out);
}

std::string server_metadata(std::string_view version) {
  json::object out{{"name", "dormouse"},
                   {"version", version},
                   {"extensions", json::array{"binary_tensor_data"}}};
  return json::serialize(out);
}

std::string kserve_error(std::string_view message) {
  return json::serialize(json::object{{"error", valid_utf8(message)}});
}

}  // namespace dormouse::gateway
