#include "wire/tensors.h"

#include "base/bytes.h"

namespace dormouse::wire {
namespace {

struct Row {
  DataType type;
  std::string_view name;
  std::size_t size;
};

constexpr Row rows[] = {
    {DataType::boolean, "BOOL", 1},  {DataType::uint8, "UINT8", 1},
    {DataType::uint16, "UINT16", 2}, {DataType::uint32, "UINT32", 4},
    {DataType::uint64, "UINT64", 8}, {DataType::int8, "INT8", 1},
    {DataType::int16, "INT16", 2},   {DataType::int32, "INT32", 4},
    {DataType::int64, "INT64", 8},   {DataType::fp16, "FP16", 2},
    {DataType::fp32, "FP32", 4},     {DataType::fp64, "FP64", 8},
    {DataType::bf16, "BF16", 2},     {DataType::bytes, "BYTES", 0},
};

void put_spec(std::string& out, const TensorSpec& spec) {
  put_sized(out, spec.name);
  put(out, static_cast<std::uint8_t>(spec.type));
  put(out, static_cast<std::uint8_t>(spec.shape.size()));
  for (const std::int64_t dimension : spec.shape) put(out, dimension);
}

Result<TensorSpec> get_spec(Reader& reader) {
  TensorSpec spec;
  spec.name = reader.get_sized();
  const auto type = reader.get<std::uint8_t>();
  const auto rank = reader.get<std::uint8_t>();
  if (!reader.ok() || spec.name.size() > name_bytes_max || type >= std::size(rows) ||
      rank > dimensions_max) {
    return Error{Code::invalid_argument, "a tensor's description is malformed"};
  }
  spec.type = static_cast<DataType>(type);
  for (int i = 0; i < rank; ++i) spec.shape.push_back(reader.get<std::int64_t>());
  return spec;
}

void put_specs(std::string& out, const std::vector<TensorSpec>& specs) {
  put(out, static_cast<std::uint16_t>(specs.size()));
  for (const TensorSpec& spec : specs) put_spec(out, spec);
}

// Reads `get`-ed items behind a 16-bit count.
template <class Item, class Get>
Result<std::vector<Item>> get_list(Reader& reader, Get get) {
  const auto count = reader.get<std::uint16_t>();
  if (count > tensors_max) {
    return Error{Code::invalid_argument, "more than 256 tensors"};
  }
  std::vector<Item> items;
  for (int i = 0; i < count; ++i) {
    auto item = get(reader);
    if (!item) return std::move(item).error();
    items.push_back(std::move(*item));
  }
  return items;
}

Result<Tensor> get_tensor(Reader& reader) {
  auto spec = get_spec(reader);
  if (!spec) return std::move(spec).error();
  Tensor tensor{std::move(*spec)};
  tensor.offset = reader.get<std::uint64_t>();
  tensor.size = reader.get<std::uint64_t>();
  return tensor;
}

}  // namespace

std::string_view name(DataType type) {
  return rows[static_cast<std::size_t>(type)].name;
}

std::optional<DataType> data_type(std::string_view name) {
  for (const Row& row : rows) {
    if (row.name == name) return row.type;
  }
  return std::nullopt;
}

std::size_t element_size(DataType type) {
  return rows[static_cast<std::size_t>(type)].size;
}

std::optional<std::uint64_t> element_count(std::span<const std::int64_t> shape) {
  std::uint64_t count = 1;
  for (const std::int64_t dimension : shape) {
    if (dimension < 0) return std::nullopt;
    if (__builtin_mul_overflow(count, static_cast<std::uint64_t>(dimension), &count)) {
      return std::nullopt;
    }
    if (count > std::uint64_t{1} << 62) return std::nullopt;
  }
  return count;
}

Result<> validate(std::span<const Tensor> tensors, std::uint64_t body_size) {
  std::uint64_t left = body_size;
  for (const Tensor& tensor : tensors) {
    const auto wrong = [&](const std::string& how) {
      return Error{Code::invalid_argument, "tensor \"" + tensor.spec.name + "\" " + how};
    };
    const auto count = element_count(tensor.spec.shape);
    if (!count) return wrong("has a shape that is negative or too large");
    if (tensor.offset > body_size || tensor.size > body_size - tensor.offset) {
      return wrong("does not lie within the body");
    }
    if (tensor.size > left) return wrong("shares bytes with another");
    left -= tensor.size;
    const bool variable = tensor.spec.type == DataType::bytes;
    const std::uint64_t each = variable ? 4 : element_size(tensor.spec.type);
    std::uint64_t needed = 0;
    const bool overflow = __builtin_mul_overflow(*count, each, &needed);
    if (overflow || (variable ? tensor.size < needed : tensor.size != needed)) {
      return wrong("has " + std::to_string(tensor.size) + " bytes where its shape of " +
                   std::to_string(*count) + " elements asks for " + std::to_string(needed));
    }
  }
  return ok;
}

std::string encode(const Signature& signature) {
  std::string out;
  put_specs(out, signature.inputs);
  put_specs(out, signature.outputs);
  return out;
}

Result<Signature> decode_signature(std::string_view text) {
  Reader reader(text);
  auto inputs = get_list<TensorSpec>(reader, get_spec);
  if (!inputs) return std::move(inputs).error();
  auto outputs = get_list<TensorSpec>(reader, get_spec);
  if (!outputs) return std::move(outputs).error();
  if (!reader.complete()) return Error{Code::invalid_argument, "a signature is malformed"};
  return Signature{std::move(*inputs), std::move(*outputs)};
}

std::string encode(std::span<const Tensor> tensors) {
  std::string out;
  put(out, static_cast<std::uint16_t>(tensors.size()));
  for (const Tensor& tensor : tensors) {
    put_spec(out, tensor.spec);
    put(out, tensor.offset);
    put(out, tensor.size);
  }
  return out;
}

Result<std::vector<Tensor>> decode_tensors(std::string_view text) {
  Reader reader(text);
  auto tensors = get_list<Tensor>(reader, get_tensor);
  if (tensors && !reader.complete()) {
    return Error{Code::invalid_argument, "a table of tensors is malformed"};
  }
  return tensors;
}

}  // namespace dormouse::wire
