#include "runtimes/onnx/npy.h"

#include <charconv>

namespace dormouse::onnx {
namespace {

constexpr std::string_view magic = "\x93NUMPY";
constexpr std::size_t header_bytes_max = 4096;

struct Row {
  std::string_view name;
  wire::DataType type;
};
constexpr Row rows[] = {
    {"|b1", wire::DataType::boolean}, {"|u1", wire::DataType::uint8},
    {"<u2", wire::DataType::uint16},  {"<u4", wire::DataType::uint32},
    {"<u8", wire::DataType::uint64},  {"|i1", wire::DataType::int8},
    {"<i2", wire::DataType::int16},   {"<i4", wire::DataType::int32},
    {"<i8", wire::DataType::int64},   {"<f2", wire::DataType::fp16},
    {"<f4", wire::DataType::fp32},    {"<f8", wire::DataType::fp64},
};

Error malformed(std::string_view what) {
  return {Code::invalid_argument, "a malformed npy file: " + std::string(what)};
}

// The header is a Python dictionary with three keys, whose values are a string, a boolean and a
// tuple of numbers.
class Header {
 public:
  explicit Header(std::string_view text) : rest_(text) {}

  Result<wire::TensorSpec> parse() {
    if (!take("{")) return malformed("its header is no dictionary");
    while (!take("}")) {
      const auto read = entry();
      if (!read) return read.error();
      take(",");
    }
    skip_spaces();
    if (!rest_.empty()) return malformed("bytes after the header");
    if (seen_ != 7) return malformed("its header lacks descr, fortran_order or shape");
    return std::move(spec_);
  }

 private:
  void skip_spaces() {
    const std::size_t begin = std::min(rest_.find_first_not_of(" \n"), rest_.size());
    rest_.remove_prefix(begin);
  }

  bool take(std::string_view word) {
    skip_spaces();
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }

  std::string_view quoted() {
    skip_spaces();
    if (rest_.empty() || (rest_[0] != '\'' && rest_[0] != '"')) return {};
    const std::size_t end = rest_.find(rest_[0], 1);
    if (end == rest_.npos) return {};
    const std::string_view text = rest_.substr(1, end - 1);
    rest_.remove_prefix(end + 1);
    return text;
  }

  Result<> entry() {
    const std::string_view key = quoted();
    if (!take(":")) return malformed("its header");
    const unsigned bit = key == "descr" ? 1 : key == "fortran_order" ? 2 : key == "shape" ? 4 : 0;
    if (bit == 0 || (seen_ & bit) != 0) return malformed("an unknown or repeated key");
    seen_ |= bit;
    if (bit == 1) return type();
    return bit == 2 ? order() : shape();
  }

  Result<> type() {
    const std::string_view name = quoted();
    for (const Row& row : rows) {
      if (row.name != name) continue;
      spec_.type = row.type;
      return ok;
    }
    return Error{Code::unsupported,
                 "npy arrays of type \"" + std::string(name.substr(0, 40)) + "\" are not taken"};
  }

  Result<> order() {
    if (take("False")) return ok;
    if (take("True")) return Error{Code::unsupported, "npy arrays in Fortran order are not taken"};
    return malformed("fortran_order");
  }

  Result<> shape() {
    if (!take("(")) return malformed("the shape");
    while (!take(")")) {
      skip_spaces();
      std::int64_t size = 0;
      const char* const begin = rest_.data();
      const auto [end, error] = std::from_chars(begin, begin + rest_.size(), size);
      if (error != std::errc() || size < 0) return malformed("the shape");
      rest_.remove_prefix(static_cast<std::size_t>(end - begin));
      if (spec_.shape.size() == wire::dimensions_max) return malformed("too many dimensions");
      spec_.shape.push_back(size);
      take(",");
    }
    return ok;
  }

  std::string_view rest_;
  wire::TensorSpec spec_;
  unsigned seen_ = 0;
};

}  // namespace

Result<Npy> parse_npy(Bytes file) {
  Reader reader(as_text(file));
  if (reader.take(magic.size()) != magic) return malformed("it does not begin like one");
  const auto major = reader.get<std::uint8_t>();
  reader.get<std::uint8_t>();
  const std::size_t size = major == 1 ? reader.get<std::uint16_t>() : reader.get<std::uint32_t>();
  if (!reader.ok() || major < 1 || major > 2) return malformed("its version");
  if (size > header_bytes_max) return malformed("its header is over 4 KiB");
  const std::string_view header = reader.take(size);
  if (!reader.ok()) return malformed("it ends within the header");
  auto spec = Header(header).parse();
  if (!spec) return std::move(spec).error();
  const auto count = wire::element_count(spec->shape);
  const std::uint64_t each = wire::element_size(spec->type);
  const std::uint64_t have = reader.rest().size();
  if (!count || have % each != 0 || have / each != *count) {
    return malformed("its shape does not fit its " + std::to_string(have) + " bytes of values");
  }
  return Npy{std::move(*spec), file.size() - have};
}

Result<std::string> npy_header(const wire::TensorSpec& spec) {
  std::string_view type;
  for (const Row& row : rows) {
    if (row.type == spec.type) type = row.name;
  }
  if (type.empty()) {
    return Error{Code::unsupported,
                 "the output is " + std::string(wire::name(spec.type)) + ", which npy cannot hold"};
  }
  std::string dictionary =
      "{'descr': '" + std::string(type) + "', 'fortran_order': False, 'shape': (";
  for (const std::int64_t size : spec.shape) dictionary += std::to_string(size) + ", ";
  dictionary += "), }";
  constexpr std::size_t before = 10, alignment = 64;
  const std::size_t used = before + dictionary.size() + 1;
  dictionary.append((alignment - used % alignment) % alignment, ' ');
  dictionary += '\n';
  std::string out(magic);
  put(out, std::uint8_t{1});
  put(out, std::uint8_t{0});
  put(out, static_cast<std::uint16_t>(dictionary.size()));
  return out + dictionary;
}

}  // namespace dormouse::onnx
