#include "runtimes/onnx/external_data.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace dormouse::onnx {
namespace {

constexpr int depth_max = 96;  // Protobuf itself stops at 100.
constexpr std::size_t rank_max = 64;

// The messages of onnx.proto that lead to tensors. `other` is skipped.
enum class Message : std::uint8_t {
  other,
  model,
  training,
  function,
  graph,
  node,
  attribute,
  sparse_tensor,
  tensor,
};

struct Edge {
  Message from;
  std::uint32_t field;
  Message to;
};

constexpr Edge edges[] = {
    {Message::model, 7, Message::graph},
    {Message::model, 20, Message::training},
    {Message::model, 25, Message::function},
    {Message::training, 1, Message::graph},
    {Message::training, 2, Message::graph},
    {Message::function, 7, Message::node},
    {Message::function, 11, Message::attribute},
    {Message::graph, 1, Message::node},
    {Message::graph, 5, Message::tensor},
    {Message::graph, 15, Message::sparse_tensor},
    {Message::node, 5, Message::attribute},
    {Message::attribute, 5, Message::tensor},
    {Message::attribute, 6, Message::graph},
    {Message::attribute, 10, Message::tensor},
    {Message::attribute, 11, Message::graph},
    {Message::attribute, 22, Message::sparse_tensor},
    {Message::attribute, 23, Message::sparse_tensor},
    {Message::sparse_tensor, 1, Message::tensor},
    {Message::sparse_tensor, 2, Message::tensor},
};

Message follow(Message from, std::uint32_t field) {
  for (const Edge& edge : edges) {
    if (edge.from == from && edge.field == field) return edge.to;
  }
  return Message::other;
}

// TensorProto and StringStringEntryProto.
constexpr std::uint32_t tensor_dims = 1, tensor_type = 2, tensor_name = 8, tensor_external = 13;
constexpr std::uint32_t entry_key = 1, entry_value = 2;
// NodeProto. Dropout draws only in a model that says that it is being trained.
constexpr std::uint32_t node_type = 4;
constexpr std::string_view random_operators[] = {"Bernoulli",     "Multinomial",
                                                 "RandomNormal",  "RandomNormalLike",
                                                 "RandomUniform", "RandomUniformLike"};

struct Field {
  std::uint32_t number = 0;
  bool is_bytes = false;
  std::uint64_t value = 0;  // Of a varint.
  std::string_view bytes;
};

Error malformed(std::string_view what) {
  return {Code::invalid_argument, "the model is not a well-formed ONNX file: " + std::string(what)};
}

std::optional<std::uint64_t> take_varint(Reader& reader, int bytes_max) {
  std::uint64_t value = 0;
  for (int i = 0; i < bytes_max; ++i) {
    const auto byte = reader.get<std::uint8_t>();
    if (!reader.ok()) return std::nullopt;
    value |= std::uint64_t{byte & 0x7fu} << (7 * i);
    if ((byte & 0x80) == 0) return value;
  }
  return std::nullopt;
}

Result<Field> take_field(Reader& reader) {
  const auto tag = take_varint(reader, 5);
  if (!tag || *tag > 0xffff'ffff || *tag >> 3 == 0) return malformed("a tag");
  Field field{.number = static_cast<std::uint32_t>(*tag >> 3)};
  switch (*tag & 7) {
    case 0: {
      const auto value = take_varint(reader, 10);
      if (!value) return malformed("a number");
      field.value = *value;
      break;
    }
    case 1: reader.take(8); break;
    case 2: {
      const auto size = take_varint(reader, 10);
      if (!size || *size > reader.rest().size()) return malformed("a length beyond the end");
      field.is_bytes = true;
      field.bytes = reader.take(*size);
      break;
    }
    case 5: reader.take(4); break;
    default: return malformed("a wire type");
  }
  if (!reader.ok()) return malformed("it ends too early");
  return field;
}

Result<std::uint64_t> parse_size(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return malformed("an external tensor's offset or length");
  }
  return value;
}

struct Outline {
  std::vector<ExternalTensor> external_tensors;
  std::string random_operator;
};

class Walk {
 public:
  explicit Walk(Outline& found) : found_(found) {}

  Result<> message(Message kind, std::string_view bytes, bool in_main, int depth) {
    if (depth > depth_max) return malformed("it is nested too deeply");
    Reader reader(bytes);
    while (!reader.rest().empty()) {
      const auto field = take_field(reader);
      if (!field) return field.error();
      if (!field->is_bytes) continue;
      const auto followed = child(kind, *field, in_main, depth);
      if (!followed) return followed;
    }
    return ok;
  }

 private:
  Result<> child(Message kind, const Field& field, bool in_main, int depth) {
    const Message to = follow(kind, field.number);
    const bool main_graph = kind == Message::model && to == Message::graph;
    if (kind == Message::node && field.number == node_type) look_at(field.bytes);
    if (to == Message::other) return ok;
    if (to == Message::tensor) return tensor(field.bytes, in_main && kind == Message::graph);
    return message(to, field.bytes, main_graph, depth + 1);
  }

  void look_at(std::string_view type) {
    if (std::ranges::find(random_operators, type) != std::end(random_operators)) {
      found_.random_operator = type;
    }
  }

  Result<> tensor(std::string_view bytes, bool in_main) {
    ExternalTensor tensor{.is_main_initializer = in_main};
    bool is_external = false;
    Reader reader(bytes);
    while (!reader.rest().empty()) {
      const auto field = take_field(reader);
      if (!field) return field.error();
      const auto taken = tensor_field(*field, tensor, is_external);
      if (!taken) return taken;
    }
    if (!is_external) return ok;
    auto& all = found_.external_tensors;
    if (all.size() == external_tensors_max) return malformed("too many external tensors");
    all.push_back(std::move(tensor));
    return ok;
  }

  static Result<> tensor_field(const Field& field, ExternalTensor& tensor, bool& is_external) {
    switch (field.number) {
      case tensor_dims: return dimensions(field, tensor);
      case tensor_type: tensor.element_type = static_cast<std::int32_t>(field.value); return ok;
      case tensor_name: tensor.name = field.bytes; return ok;
      case tensor_external:
        is_external = true;
        return field.is_bytes ? entry(field.bytes, tensor) : malformed("an external entry");
      default: return ok;
    }
  }

  static Result<> dimensions(const Field& field, ExternalTensor& tensor) {
    Reader packed(field.bytes);
    if (!field.is_bytes) tensor.shape.push_back(static_cast<std::int64_t>(field.value));
    while (!packed.rest().empty()) {
      const auto value = take_varint(packed, 10);
      if (!value) return malformed("a dimension");
      tensor.shape.push_back(static_cast<std::int64_t>(*value));
      if (tensor.shape.size() > rank_max) break;
    }
    if (tensor.shape.size() > rank_max) return malformed("a tensor of too many dimensions");
    return ok;
  }

  static Result<> entry(std::string_view bytes, ExternalTensor& tensor) {
    std::string_view key, value;
    Reader reader(bytes);
    while (!reader.rest().empty()) {
      const auto field = take_field(reader);
      if (!field) return field.error();
      if (field->number == entry_key) key = field->bytes;
      if (field->number == entry_value) value = field->bytes;
    }
    if (key == "location") {
      // Which of two a reader follows is its own choice: there is exactly one, or none.
      if (!tensor.location.empty()) return malformed("an external tensor with two locations");
      tensor.location = value;
      return ok;
    }
    if (key.starts_with("prepacked")) return packed(value, tensor);
    if (key != "offset" && key != "length") return ok;
    const auto size = parse_size(value);
    if (!size) return size.error();
    (key == "offset" ? tensor.offset : tensor.length) = *size;
    return ok;
  }

  // "KERNEL+HASH|OFFSET;LENGTH;CHECKSUM|…", one for each piece: ONNX Runtime's ExternalDataInfo.
  static Result<> packed(std::string_view value, ExternalTensor& tensor) {
    for (std::size_t at = value.find('|'); at != value.npos; at = value.find('|', at + 1)) {
      const std::string_view piece = value.substr(at + 1, value.find('|', at + 1) - at - 1);
      const std::size_t first = piece.find(';');
      const std::size_t second = piece.find(';', first + 1);
      if (first == piece.npos || second == piece.npos) return malformed("a packed tensor's place");
      const auto offset = parse_size(piece.substr(0, first));
      const auto size = parse_size(piece.substr(first + 1, second - first - 1));
      if (!offset || !size) return malformed("a packed tensor's place");
      tensor.packed.push_back({*offset, *size});
    }
    return ok;
  }

  Outline& found_;
};

Result<Outline> outline(Bytes model) {
  Outline found;
  const auto walked = Walk(found).message(Message::model, as_text(model), false, 0);
  if (!walked) return walked.error();
  return found;
}

}  // namespace

Result<std::vector<ExternalTensor>> external_tensors(Bytes model) {
  auto found = outline(model);
  if (!found) return std::move(found).error();
  return std::move(found->external_tensors);
}

Result<std::string> random_operator(Bytes model) {
  auto found = outline(model);
  if (!found) return std::move(found).error();
  return std::move(found->random_operator);
}

}  // namespace dormouse::onnx
