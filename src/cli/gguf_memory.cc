#include "cli/gguf_memory.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <map>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dormouse::cli {
namespace {

using Numbers = std::vector<std::uint64_t>;  // Of a key: one, or one of each layer.

// Numbers of the format.
enum Type : std::uint32_t { string = 8, array = 9, float64 = 12 };

struct Kind {
  std::size_t bytes;
  bool is_whole;
};
// By their numbers; those of texts and arrays say nothing.
constexpr Kind kinds[] = {{1, true}, {1, true},  {2, true}, {2, true},  {4, true},
                          {4, true}, {4, false}, {1, true}, {0, false}, {0, false},
                          {8, true}, {8, true},  {8, false}};

class Header {
 public:
  explicit Header(const std::filesystem::path& path) : file_(path, std::ios::binary) {}

  // As far as it can be read.
  void read() {
    constexpr std::uint64_t keys_max = 1 << 16;
    std::uint32_t version = 0;
    std::uint64_t tensors = 0, keys = 0;
    if (bytes(4) != "GGUF" || !number(version) || !number(tensors) || !number(keys)) return;
    if (version != 2 && version != 3) return;
    for (std::uint64_t i = 0; i < std::min(keys, keys_max); ++i) {
      if (!read_key()) return;
    }
  }

  // Of "llama.block_count", by what follows the architecture.
  std::optional<Numbers> of(const std::string& name) const {
    const auto found = numbers_.find(architecture_ + "." + name);
    return found == numbers_.end() ? std::nullopt : std::optional(found->second);
  }

 private:
  std::string bytes(std::uint64_t size) {
    std::string taken;
    if (size > left_) return taken;
    taken.resize(size);
    file_.read(taken.data(), std::ssize(taken));
    taken.resize(static_cast<std::size_t>(file_.gcount()));
    left_ -= size;
    return taken;
  }

  template <class Number>
  bool number(Number& number) {
    const std::string taken = bytes(sizeof number);
    if (taken.size() != sizeof number) return false;
    std::memcpy(&number, taken.data(), sizeof number);
    return true;
  }

  bool text(std::string& text, std::uint64_t size_max) {
    std::uint64_t size = 0;
    if (!number(size) || size > size_max) return false;
    text = bytes(size);
    return text.size() == size;
  }

  bool skip(std::uint64_t size) {
    if (size > left_) return false;
    left_ -= size;
    file_.ignore(static_cast<std::streamsize>(size));
    return file_.good();
  }

  bool read_key() {
    constexpr std::uint64_t key_bytes_max = 65535;
    std::string key, said;
    std::uint32_t type = 0;
    if (!text(key, key_bytes_max) || !number(type) || type > float64) return false;
    if (type == array) return read_array(key);
    if (type != string) return read_numbers(key, type, 1);
    if (!text(said, left_)) return false;
    if (key == "general.architecture") architecture_ = said;
    return true;
  }

  bool read_array(const std::string& key) {
    constexpr std::uint64_t of_layers_max = 4096;
    std::uint32_t type = 0;
    std::uint64_t count = 0;
    if (!number(type) || !number(count) || type > float64 || type == array) return false;
    if (type != string && count <= of_layers_max) return read_numbers(key, type, count);
    if (type != string) return count <= left_ && skip(count * kinds[type].bytes);
    for (std::uint64_t size = 0; count > 0; --count) {
      if (!number(size) || !skip(size)) return false;
    }
    return true;
  }

  bool read_numbers(const std::string& key, std::uint32_t type, std::uint64_t count) {
    const Kind kind = kinds[type];
    if (!kind.is_whole) return skip(count * kind.bytes);
    Numbers& all = numbers_[key];
    for (; count > 0; --count) {
      const std::string taken = bytes(kind.bytes);
      if (taken.size() != kind.bytes) return false;
      std::memcpy(&all.emplace_back(0), taken.data(), taken.size());
    }
    return true;
  }

  std::ifstream file_;
  std::uint64_t left_ = 64 << 20;
  std::string architecture_;
  std::map<std::string, Numbers> numbers_;
};

// One that a model may have: anything else is 0.
std::uint64_t plausible(const std::optional<Numbers>& numbers, std::uint64_t otherwise) {
  constexpr std::uint64_t most = 1 << 24;
  const std::uint64_t said = numbers && !numbers->empty() ? numbers->front() : otherwise;
  return said <= most ? said : 0;
}

// Of all layers together.
std::uint64_t heads_of_layers(const Header& header) {
  constexpr std::uint64_t layers_most = 4096, heads_most = 4096;
  const std::uint64_t layers = plausible(header.of("block_count"), 0);
  const auto said = header.of("attention.head_count_kv");
  const auto each = said ? said : header.of("attention.head_count");
  if (!each || each->empty() || layers > layers_most) return 0;
  if (std::ranges::max(*each) > heads_most) return 0;
  if (each->size() == 1) return layers * each->front();
  return std::accumulate(each->begin(), each->end(), std::uint64_t{0});
}

}  // namespace

std::uint64_t gguf_context_bytes(const std::filesystem::path& path, std::uint64_t conversations) {
  constexpr std::uint64_t context_default = 4096;  // As runtimes/llm has it.
  constexpr std::uint64_t length_most = 1 << 16, number_bytes = 2;
  Header header(path);
  header.read();
  const auto causal = header.of("attention.causal");
  if (causal && causal->front() == 0) return 0;  // It reads all of a text at once.
  const std::uint64_t heads = plausible(header.of("attention.head_count"), 0);
  const std::uint64_t width = plausible(header.of("embedding_length"), 0);
  const std::uint64_t length = heads == 0 ? 0 : width / heads;
  const std::uint64_t of_key = plausible(header.of("attention.key_length"), length);
  const std::uint64_t of_value = plausible(header.of("attention.value_length"), length);
  if (of_key == 0 || of_value == 0 || std::max(of_key, of_value) > length_most) return 0;
  std::uint64_t tokens = plausible(header.of("context_length"), context_default);
  if (tokens == 0 || tokens > context_default) tokens = context_default;
  return tokens * conversations * heads_of_layers(header) * (of_key + of_value) * number_bytes;
}

}  // namespace dormouse::cli
