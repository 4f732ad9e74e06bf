#include "gateway/tensor_json.h"

#include <boost/json.hpp>
#include <charconv>
#include <cmath>
#include <limits>

#include "async/turns.h"
#include "base/bytes.h"
#include "base/utf8.h"
#include "gateway/half.h"
#include "gateway/json.h"

namespace dormouse::gateway {
namespace {

using wire::DataType;

Error mismatch(std::string_view what) {
  return {Code::invalid_argument, std::string(what)};
}

template <class T>
Result<> put_integer(std::string& out, const json::value& value) {
  if (const auto* number = value.if_int64()) {
    if (!std::in_range<T>(*number)) return mismatch("holds a number out of its type's range");
    put(out, static_cast<T>(*number));
    return ok;
  }
  if (const auto* number = value.if_uint64()) {
    if (!std::in_range<T>(*number)) return mismatch("holds a number out of its type's range");
    put(out, static_cast<T>(*number));
    return ok;
  }
  return mismatch("holds a value that is no integer");
}

Result<double> real(const json::value& value) {
  if (const auto* number = value.if_double()) return *number;
  if (const auto* number = value.if_int64()) return static_cast<double>(*number);
  if (const auto* number = value.if_uint64()) return static_cast<double>(*number);
  return mismatch("holds a value that is no number");
}

// JSON has no infinity that could be meant: one that comes of rounding is refused.
Result<> put_real(std::string& out, DataType type, const json::value& value) {
  const auto number = real(value);
  if (!number) return number.error();
  const auto single = static_cast<float>(*number);
  const std::uint16_t half = to_half(single), bfloat = to_bfloat(single);
  const bool fits = type == DataType::fp64   ? std::isfinite(*number)
                    : type == DataType::fp32 ? std::isfinite(single)
                    : type == DataType::fp16 ? std::isfinite(from_half(half))
                                             : std::isfinite(from_bfloat(bfloat));
  if (!fits) return mismatch("holds a number out of its type's range");
  if (type == DataType::fp64) put(out, *number);
  if (type == DataType::fp32) put(out, single);
  if (type == DataType::fp16) put(out, half);
  if (type == DataType::bf16) put(out, bfloat);
  return ok;
}

Result<> put_bool(std::string& out, const json::value& value) {
  if (const auto* truth = value.if_bool()) {
    put(out, static_cast<std::uint8_t>(*truth));
    return ok;
  }
  const auto* number = value.if_int64();
  if (number == nullptr || (*number != 0 && *number != 1)) {
    return mismatch("holds a value that is neither true nor false");
  }
  put(out, static_cast<std::uint8_t>(*number));
  return ok;
}

Result<> put_value(std::string& out, DataType type, const json::value& value) {
  switch (type) {
    case DataType::boolean: return put_bool(out, value);
    case DataType::uint8: return put_integer<std::uint8_t>(out, value);
    case DataType::uint16: return put_integer<std::uint16_t>(out, value);
    case DataType::uint32: return put_integer<std::uint32_t>(out, value);
    case DataType::uint64: return put_integer<std::uint64_t>(out, value);
    case DataType::int8: return put_integer<std::int8_t>(out, value);
    case DataType::int16: return put_integer<std::int16_t>(out, value);
    case DataType::int32: return put_integer<std::int32_t>(out, value);
    case DataType::int64: return put_integer<std::int64_t>(out, value);
    case DataType::fp16:
    case DataType::fp32:
    case DataType::fp64:
    case DataType::bf16: return put_real(out, type, value);
    case DataType::bytes: {
      const auto* text = value.if_string();
      if (text == nullptr) return mismatch("holds a value that is no string");
      put_sized(out, std::string_view(text->data(), text->size()));
      return ok;
    }
  }
  CHECK_UNREACHABLE("every DataType has a form");
}

// Depth is bounded by the parser.
std::uint64_t count_of(const json::value& value) {
  const auto* array = value.if_array();
  if (array == nullptr) return 1;
  async::computed(array->size());
  std::uint64_t count = 0;
  for (const json::value& each : *array) count += count_of(each);
  return count;
}

Result<> put_all(std::string& out, DataType type, const json::value& value) {
  const auto* array = value.if_array();
  if (array == nullptr) return put_value(out, type, value);
  async::computed(array->size());
  for (const json::value& each : *array) {
    if (auto done = put_all(out, type, each); !done) return done;
  }
  return ok;
}

// Of one answer: one byte of a tensor may take 30 there, with brackets for each of its dimensions.
constexpr std::size_t json_bytes_max = std::size_t{256} << 20;

template <class T>
void append_number(std::string& out, T value) {
  if constexpr (std::is_floating_point_v<T>) {
    if (!std::isfinite(value)) return void(out.append("null"));
    if (value == 0 && std::signbit(value)) return void(out.append("-0.0"));  // "-0" is an integer.
  }
  char text[40];
  const auto end = std::to_chars(text, text + sizeof(text), value).ptr;
  out.append(text, end);
}

template <class T>
void append_next(std::string& out, Reader& reader) {
  append_number(out, reader.get<T>());
}

void append_value(std::string& out, DataType type, Reader& reader) {
  switch (type) {
    case DataType::boolean:
      return void(out.append(reader.get<std::uint8_t>() != 0 ? "true" : "false"));
    case DataType::uint8: return append_next<std::uint8_t>(out, reader);
    case DataType::uint16: return append_next<std::uint16_t>(out, reader);
    case DataType::uint32: return append_next<std::uint32_t>(out, reader);
    case DataType::uint64: return append_next<std::uint64_t>(out, reader);
    case DataType::int8: return append_next<std::int8_t>(out, reader);
    case DataType::int16: return append_next<std::int16_t>(out, reader);
    case DataType::int32: return append_next<std::int32_t>(out, reader);
    case DataType::int64: return append_next<std::int64_t>(out, reader);
    case DataType::fp16: return append_number(out, from_half(reader.get<std::uint16_t>()));
    case DataType::fp32: return append_next<float>(out, reader);
    case DataType::fp64: return append_next<double>(out, reader);
    case DataType::bf16: return append_number(out, from_bfloat(reader.get<std::uint16_t>()));
    case DataType::bytes: return append_json_string(out, reader.get_sized());
  }
  CHECK_UNREACHABLE("every DataType has a form");
}

void append_nested(std::string& out, DataType type, std::span<const std::int64_t> shape,
                   Reader& reader) {
  if (shape.empty()) return append_value(out, type, reader);
  out += '[';
  for (std::int64_t i = 0; i < shape.front() && reader.ok(); ++i) {
    if (out.size() > json_bytes_max) return;
    async::computed(1);
    if (i > 0) out += ',';
    append_nested(out, type, shape.subspan(1), reader);
  }
  out += ']';
}

Result<> shape_at(const json::value& data, std::size_t depth, std::vector<std::int64_t>& shape) {
  const auto* array = data.if_array();
  if (array == nullptr) {
    if (depth != shape.size()) return mismatch("has rows of different lengths");
    return ok;
  }
  if (depth >= shape.size()) return mismatch("has rows of different lengths");
  if (static_cast<std::int64_t>(array->size()) != shape[depth]) {
    return mismatch("has rows of different lengths");
  }
  async::computed(array->size());
  for (const json::value& each : *array) {
    const auto same = shape_at(each, depth + 1, shape);
    if (!same) return same;
  }
  return ok;
}

}  // namespace

Result<wire::Tensor> put_tensor(std::string& body, const wire::TensorSpec& spec,
                                const json::value& data) {
  body.resize((body.size() + tensor_alignment - 1) / tensor_alignment * tensor_alignment);
  wire::Tensor tensor{spec, body.size(), 0};
  const auto wrong = [&](const std::string& how) {
    return mismatch("tensor \"" + spec.name + "\" of type " + std::string(wire::name(spec.type)) +
                    " " + how);
  };
  const auto wanted = wire::element_count(spec.shape);
  if (!wanted) return wrong("has a shape that is negative or too large");
  // Before any is converted, which takes as long as all the rest.
  const std::uint64_t count = count_of(data);
  if (count != *wanted) {
    return wrong("has " + std::to_string(count) + " values where its shape " + text(spec.shape) +
                 " asks for " + std::to_string(*wanted));
  }
  if (auto done = put_all(body, spec.type, data); !done) return wrong(done.error().message);
  tensor.size = body.size() - tensor.offset;
  return tensor;
}

Result<std::vector<std::int64_t>> shape_of(const json::value& data) {
  std::vector<std::int64_t> shape;
  for (const json::value* at = &data; at->is_array();) {
    const auto& array = at->get_array();
    shape.push_back(static_cast<std::int64_t>(array.size()));
    if (array.empty()) break;
    at = &array.front();
  }
  const auto regular = shape_at(data, 0, shape);
  if (!regular) return regular.error();
  return shape;
}

bool fits(const std::vector<std::int64_t>& shape, const wire::TensorSpec& spec) {
  if (spec.shape.empty()) return shape.size() <= wire::dimensions_max;
  if (shape.size() != spec.shape.size()) return false;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (spec.shape[i] >= 0 && spec.shape[i] != shape[i]) return false;
  }
  return true;
}

std::string text(const std::vector<std::int64_t>& shape) {
  std::string out = "[";
  for (const std::int64_t each : shape) out += (out.size() > 1 ? ", " : "") + std::to_string(each);
  return out + "]";
}

Result<> append_json(std::string& out, const wire::TensorSpec& spec, std::string_view bytes,
                     Layout layout) {
  const auto count = wire::element_count(spec.shape);
  CHECK(count);
  Reader reader(bytes);
  if (*count == 0) {
    out += "[]";  // However its shape nests: a length may be huge beside a zero.
  } else if (layout == Layout::nested) {
    append_nested(out, spec.type, spec.shape, reader);
  } else {
    const std::int64_t flat[] = {static_cast<std::int64_t>(*count)};
    append_nested(out, spec.type, flat, reader);
  }
  if (out.size() > json_bytes_max) {
    return Error{Code::function_failed,
                 "the answer takes more than 256 MiB as JSON; ask for its tensors in binary"};
  }
  if (!reader.complete()) {
    return Error{Code::function_failed, "output \"" + spec.name + "\" does not fit its shape"};
  }
  return ok;
}

void append_json_string(std::string& out, std::string_view text) {
  out += json::serialize(json::string(valid_utf8(text)));
}

}  // namespace dormouse::gateway
