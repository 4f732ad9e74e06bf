#include "runtimes/llm/gguf_header.h"

#include <ggml.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <set>
#include <string_view>
#include <vector>

namespace dormouse::llm {
namespace {

constexpr std::size_t name_bytes_max = GGML_MAX_NAME - 1;
constexpr std::size_t key_bytes_max = 65535;
constexpr std::uint64_t strings_max = 1 << 24;  // Of one array: more than any vocabulary has.

// Numbers of the format, which are not llama.cpp's to change.
enum class Type : std::uint32_t {
  uint8,
  int8,
  uint16,
  int16,
  uint32,
  int32,
  float32,
  boolean,
  string,
  array,
  uint64,
  int64,
  float64
};

std::optional<std::size_t> size_of(Type type) {
  switch (type) {
    case Type::uint8:
    case Type::int8:
    case Type::boolean: return 1;
    case Type::uint16:
    case Type::int16: return 2;
    case Type::uint32:
    case Type::int32:
    case Type::float32: return 4;
    case Type::uint64:
    case Type::int64:
    case Type::float64: return 8;
    case Type::string:
    case Type::array: break;
  }
  return std::nullopt;
}

Error wrong(std::string what) {
  return {Code::invalid_argument, "not a sound GGUF file: " + std::move(what)};
}

// For a person's eyes; what a file calls something may be anything.
std::string quoted(std::string_view name) {
  std::string quoted = "\"";
  for (const char c : name.substr(0, name_bytes_max)) quoted += c >= ' ' && c <= '~' ? c : '?';
  return quoted + "\"";
}

class Header {
 public:
  explicit Header(Bytes file) : file_(as_text(file)) {}

  Result<GgufHeader> check() {
    std::string_view magic;
    if (!take(4, magic) || magic != "GGUF") return wrong("it does not begin with \"GGUF\"");
    GgufHeader header;
    if (!number(header.version) || !number(header.tensors) || !number(header.keys)) {
      return wrong("it ends within its header");
    }
    if (header.version != 2 && header.version != 3) {
      return wrong("version " + std::to_string(header.version) + "; 2 and 3 are known");
    }
    for (std::uint64_t i = 0; i < header.keys; ++i) {
      if (auto good = check_key(header); !good) return good.error();
    }
    for (std::uint64_t i = 0; i < header.tensors; ++i) {
      auto bytes = check_tensor();
      if (!bytes) return std::move(bytes).error();
      header.tensor_bytes += *bytes;
    }
    if (auto good = check_places(); !good) return good.error();
    header.tensors_in_order = std::move(found_);
    for (GgufTensor& each : header.tensors_in_order) each.begin += tensors_begin();
    std::ranges::sort(header.tensors_in_order, {}, &GgufTensor::begin);
    return header;
  }

 private:
  bool take(std::uint64_t size, std::string_view& taken) {
    if (size > file_.size() - at_) return false;
    taken = file_.substr(at_, size);
    at_ += size;
    return true;
  }

  template <class Number>
  bool number(Number& number) {
    std::string_view bytes;
    if (!take(sizeof(Number), bytes)) return false;
    std::memcpy(&number, bytes.data(), sizeof(Number));
    return true;
  }

  bool text(std::string_view& text) {
    std::uint64_t size = 0;
    return number(size) && take(size, text);
  }

  Result<> check_key(GgufHeader& header) {
    std::string_view key;
    Type type{};
    if (!text(key)) return wrong("a key is cut off, or there are more than it has");
    if (key.empty() || key.size() > key_bytes_max) {
      return wrong("a key of " + std::to_string(key.size()) + " bytes");
    }
    if (!keys_.insert(key).second) return wrong(quoted(key) + " is there twice");
    if (!number(type)) return wrong(quoted(key) + " has no value");
    if (type == Type::array) return check_array(key);
    if (key == "general.alignment") return check_alignment(type);
    std::string_view value;
    if (type == Type::string) {
      if (!text(value)) return wrong("the text of " + quoted(key) + " is cut off");
      if (key == "general.architecture") header.architecture = value;
      return ok;
    }
    const auto size = size_of(type);
    if (!size) {
      return wrong(quoted(key) + " has the type " +
                   std::to_string(static_cast<std::uint32_t>(type)) + ", which there is not");
    }
    if (!take(*size, value)) return wrong("the value of " + quoted(key) + " is cut off");
    return key == "split.count" ? check_parts(value) : ok;
  }

  // llama.cpp would read the others by their names.
  static Result<> check_parts(std::string_view value) {
    std::uint64_t parts = 0;
    std::memcpy(&parts, value.data(), std::min(value.size(), sizeof parts));
    if (parts <= 1) return ok;
    return Error{Code::unsupported, "it is one of " + std::to_string(parts) +
                                        " parts: put them together first, by "
                                        "`llama-gguf-split --merge`"};
  }

  Result<> check_alignment(Type type) {
    if (type != Type::uint32 || !number(alignment_)) {
      return wrong("\"general.alignment\" is not a 32-bit number");
    }
    const bool power = alignment_ != 0 && (alignment_ & (alignment_ - 1)) == 0;
    if (power && alignment_ <= (1U << 20)) return ok;
    return wrong("an alignment of " + std::to_string(alignment_));
  }

  Result<> check_array(std::string_view key) {
    Type type{};
    std::uint64_t count = 0;
    if (!number(type) || !number(count)) return wrong(quoted(key) + " has no value");
    std::string_view value;
    if (type == Type::string) {
      bool whole = count <= strings_max;
      for (std::uint64_t i = 0; whole && i < count; ++i) whole = text(value);
      if (!whole) return wrong("the texts of " + quoted(key) + " are cut off");
      return ok;
    }
    const auto size = size_of(type);
    if (!size) return wrong(quoted(key) + " is an array of what there are no arrays of");
    if (count > file_.size() / *size || !take(count * *size, value)) {
      return wrong("the array " + quoted(key) + " says " + std::to_string(count) +
                   " elements and is cut off");
    }
    return ok;
  }

  // Gives its bytes.
  Result<std::uint64_t> check_tensor() {
    std::string_view name;
    std::uint32_t dimensions = 0;
    if (!text(name) || !number(dimensions)) {
      return wrong("a tensor is cut off, or there are more than it has");
    }
    if (name.size() > name_bytes_max) return wrong("the name of a tensor is too long");
    if (!tensors_.insert(name).second) return wrong("the tensor " + quoted(name) + " is twice");
    if (dimensions > GGML_MAX_DIMS) return wrong(quoted(name) + " has too many dimensions");
    GgufTensor tensor{.name = std::string(name)};
    for (std::uint32_t i = 0; i < dimensions; ++i) {
      if (!number(tensor.shape[i])) return wrong("the tensor " + quoted(name) + " is cut off");
    }
    if (!number(tensor.type) || !number(tensor.begin)) {
      return wrong("the tensor " + quoted(name) + " is cut off");
    }
    const auto bytes = bytes_of(tensor.type, tensor.shape);
    if (!bytes) return wrong("the type or the size of " + quoted(name) + " is out of range");
    std::uint64_t end = 0;
    if (tensor.begin % alignment_ != 0 || __builtin_add_overflow(tensor.begin, *bytes, &end)) {
      return wrong("the place of " + quoted(name) + " is out of range");
    }
    tensor.bytes = *bytes;
    found_.push_back(std::move(tensor));
    return *bytes;
  }

  static std::optional<std::uint64_t> bytes_of(
      std::uint32_t type, const std::array<std::uint64_t, GGML_MAX_DIMS>& sizes) {
    if (type >= GGML_TYPE_COUNT) return std::nullopt;
    const auto known = static_cast<ggml_type>(type);
    const auto block = static_cast<std::uint64_t>(ggml_blck_size(known));
    const std::uint64_t block_bytes = ggml_type_size(known);
    if (block == 0 || block_bytes == 0 || sizes[0] % block != 0) return std::nullopt;
    std::uint64_t elements = 1, bytes = 0;
    for (const std::uint64_t size : sizes) {
      const bool wraps = __builtin_mul_overflow(elements, size, &elements);
      if (size == 0 || wraps || elements > INT64_MAX) return std::nullopt;
    }
    if (__builtin_mul_overflow(elements / block, block_bytes, &bytes)) return std::nullopt;
    return bytes;
  }

  // Where the tensors lie is known only after the last of them.
  std::uint64_t tensors_begin() const { return (at_ + alignment_ - 1) / alignment_ * alignment_; }

  Result<> check_places() const {
    const std::uint64_t begin = tensors_begin();
    const std::uint64_t room = begin > file_.size() ? 0 : file_.size() - begin;
    for (const GgufTensor& tensor : found_) {
      const std::uint64_t end = tensor.begin + tensor.bytes;
      if (end > room) {
        return wrong("the tensor " + quoted(tensor.name) + " ends " + std::to_string(end - room) +
                     " bytes behind the file");
      }
    }
    return ok;
  }

  std::string_view file_;
  std::size_t at_ = 0;
  std::uint32_t alignment_ = 32;
  std::set<std::string_view> keys_, tensors_;
  std::vector<GgufTensor> found_;  // Each begins where its file says: from where tensors do.
};

}  // namespace

Result<GgufHeader> check_gguf(Bytes file) {
  return Header(file).check();
}

}  // namespace dormouse::llm
