#include "cli/gguf_memory.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <random>
#include <string>

#include "base/bytes.h"

namespace dormouse::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t mib = 1 << 20;

// A header, key by key, in a file.
class Written {
 public:
  explicit Written(const std::string& architecture = "llama") {
    text("general.architecture", architecture);
  }
  Written& text(const std::string& key, const std::string& value) {
    begin(key, 8);
    sized(value);
    return *this;
  }
  Written& number(const std::string& key, std::uint32_t value) {
    begin(key, 4);
    put(out_, value);
    return *this;
  }
  Written& flag(const std::string& key, bool value) {
    begin(key, 7);
    put(out_, static_cast<std::uint8_t>(value));
    return *this;
  }
  Written& numbers(const std::string& key, const std::vector<std::uint32_t>& all) {
    begin(key, 9);
    put(out_, std::uint32_t{4});
    put(out_, std::uint64_t{all.size()});
    for (const std::uint32_t each : all) put(out_, each);
    return *this;
  }
  Written& texts(const std::string& key, std::uint64_t count) {
    begin(key, 9);
    put(out_, std::uint32_t{8});
    put(out_, count);
    for (std::uint64_t i = 0; i < std::min<std::uint64_t>(count, 1000); ++i) sized("word");
    return *this;
  }
  // 32 layers of 8 heads, each of 128.
  Written& layers() {
    return number("llama.block_count", 32)
        .number("llama.embedding_length", 4096)
        .number("llama.attention.head_count", 32)
        .number("llama.attention.head_count_kv", 8)
        .number("llama.context_length", 131072);
  }
  std::string file() const {
    std::string all = "GGUF";
    put(all, std::uint32_t{3});
    put(all, std::uint64_t{0});
    put(all, keys_);
    return all + out_;
  }

 private:
  void sized(const std::string& value) {
    put(out_, std::uint64_t{value.size()});
    out_ += value;
  }
  void begin(const std::string& key, std::uint32_t type) {
    ++keys_;
    sized(key);
    put(out_, type);
  }
  std::uint64_t keys_ = 0;
  std::string out_;
};

std::uint64_t bytes_of(const std::string& content, std::uint64_t conversations = 4) {
  const fs::path path =
      fs::temp_directory_path() / ("dormouse-gguf-context-" + std::to_string(getpid()));
  std::ofstream(path, std::ios::binary) << content;
  const std::uint64_t bytes = gguf_context_bytes(path, conversations);
  fs::remove(path);
  return bytes;
}

TEST(GgufMemory, IsOfEveryLayersKeysAndValues) {
  // 128 KiB a token, as Llama 3's 8B has it.
  EXPECT_EQ(bytes_of(Written().layers().file()), 2048 * mib);
  EXPECT_EQ(bytes_of(Written().layers().file(), 1), 512 * mib);
  EXPECT_EQ(bytes_of(Written().texts("tokenizer.ggml.tokens", 1000).layers().file()), 2048 * mib);
  EXPECT_EQ(bytes_of(Written()
                         .layers()
                         .number("llama.attention.key_length", 256)
                         .number("llama.attention.value_length", 64)
                         .file()),
            2048 * mib * (256 + 64) / (128 + 128));
  // Without head_count_kv each has its own, and a context may be short.
  EXPECT_EQ(bytes_of(Written()
                         .number("llama.block_count", 2)
                         .number("llama.embedding_length", 64)
                         .number("llama.attention.head_count", 4)
                         .number("llama.context_length", 512)
                         .file()),
            4 * 512 * 2 * 64 * 2 * 2U);
}

TEST(GgufMemory, IsOfTheLayersThatHaveHeads) {
  Written file("jamba");
  file.number("jamba.block_count", 4)
      .number("jamba.embedding_length", 4096)
      .number("jamba.attention.head_count", 32)
      .numbers("jamba.attention.head_count_kv", {0, 8, 0, 8});
  EXPECT_EQ(bytes_of(file.file()), 2048 * mib / 16);
}

TEST(GgufMemory, IsNoneOfAModelThatKeepsNothing) {
  EXPECT_EQ(bytes_of(Written().layers().flag("llama.attention.causal", false).file()), 0U);
  EXPECT_EQ(bytes_of(Written("mamba").layers().file()), 0U);
}

TEST(GgufMemory, IsThatOfTheTestsModels) {
  const fs::path models = LLM_TESTDATA;
  // 2 layers of 2 heads of 16, 2,048 tokens.
  EXPECT_EQ(gguf_context_bytes(models / "llama.gguf", 4), 4 * 2048 * 2 * 2 * (16 + 16) * 2U);
  EXPECT_EQ(gguf_context_bytes(models / "bert.gguf", 4), 0U);
}

TEST(GgufMemory, BelievesNothing) {
  EXPECT_EQ(gguf_context_bytes("/nowhere", 4), 0U);
  EXPECT_EQ(bytes_of(""), 0U);
  EXPECT_EQ(bytes_of("GGUF\3"), 0U);
  EXPECT_EQ(bytes_of(Written().texts("t", UINT64_MAX).layers().file()), 0U);
  const char* const keys[] = {"block_count", "embedding_length", "attention.head_count",
                              "attention.head_count_kv", "attention.key_length"};
  for (const std::string key : keys) {
    Written file;
    for (const std::string each : keys) file.number("llama." + each, each == key ? UINT32_MAX : 8);
    EXPECT_EQ(bytes_of(file.file()), 0U) << key;
  }
  std::ifstream model(std::string(LLM_TESTDATA) + "/llama.gguf", std::ios::binary);
  const std::string file{std::istreambuf_iterator<char>(model), {}};
  std::mt19937_64 random(5);
  for (int i = 0; i < 500; ++i) {
    std::string mutated = file.substr(0, 4096);
    for (int changes = 0; changes < 4; ++changes) {
      mutated[4 + random() % (mutated.size() - 4)] = static_cast<char>(random());
    }
    (void)bytes_of(mutated);  // Comes to its end.
  }
}

}  // namespace
}  // namespace dormouse::cli
