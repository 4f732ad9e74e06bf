// Greedy answers are those of llama.cpp itself, token by token, for each form that weights have:
// its own loading, its own context, one token after the other.
#include <gguf.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>

#include "runtimes/llm/gguf_header.h"
#include "runtimes/llm/pages.h"
#include "runtimes/llm/test_calls.h"
#include "runtimes/llm/weights.h"

const std::vector<std::pair<std::string, ggml_tensor*>>& llama_internal_get_tensor_map(
    const llama_model*);

namespace dormouse::llm {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t width = 256, hidden = 2048, heads = 4, kv_heads = 2, layers = 3;
constexpr std::size_t said_tokens = 48;  // By each call.
constexpr std::size_t in_a_step = 20;    // Some of them prompts'.

// A model of random weights that is wide enough for every kind of block, with the vocabulary of
// testdata/llama.gguf.
class Wide {
 public:
  // Heads of `head` numbers.
  explicit Wide(std::int64_t head = width / heads)
      : tensors_(ggml_init({.mem_size = std::size_t{64} << 20})), file_(gguf_init_empty()) {
    const std::string vocabulary = std::string(LLM_TESTDATA) + "/llama.gguf";
    gguf_context* const other = gguf_init_from_file(vocabulary.c_str(), {.no_alloc = true});
    CHECK(other != nullptr);
    gguf_set_kv(file_, other);
    const std::int64_t kinds = gguf_find_key(other, "tokenizer.ggml.token_type");
    const auto* const first = static_cast<const std::int32_t*>(gguf_get_arr_data(other, kinds));
    kinds_.assign(first, first + gguf_get_arr_n(other, kinds));
    gguf_free(other);
    set("block_count", layers);
    set("embedding_length", width);
    set("feed_forward_length", hidden);
    set("attention.head_count", heads);
    set("attention.head_count_kv", kv_heads);
    set("rope.dimension_count", head);
    if (head != width / heads) set("attention.key_length", head);
    if (head != width / heads) set("attention.value_length", head);
    add_tensors(head);
  }
  ~Wide() {
    gguf_free(file_);
    ggml_free(tensors_);
  }

  void write(const fs::path& path) const {
    CHECK(gguf_write_to_file(file_, path.c_str(), /*only_meta=*/false));
  }

 private:
  void set(const std::string& key, std::int64_t value) {
    gguf_set_val_u32(file_, ("llama." + key).c_str(), static_cast<std::uint32_t>(value));
  }

  void add_tensors(std::int64_t head) {
    const auto words = static_cast<std::int64_t>(kinds_.size());
    matrix("token_embd", width, words, 4);
    for (std::int64_t layer = 0; layer < layers; ++layer) {
      const std::string block = "blk." + std::to_string(layer) + ".";
      ones(block + "attn_norm");
      matrix(block + "attn_q", width, heads * head, 2);
      matrix(block + "attn_k", width, kv_heads * head, 2);
      matrix(block + "attn_v", width, kv_heads * head, 2);
      matrix(block + "attn_output", heads * head, width, 2);
      ones(block + "ffn_norm");
      matrix(block + "ffn_gate", width, hidden, 2);
      matrix(block + "ffn_up", width, hidden, 2);
      matrix(block + "ffn_down", hidden, width, 2);
    }
    ones("output_norm");
    ggml_tensor* const output = matrix("output", width, words, 4);
    silence(output);
  }

  void ones(const std::string& name) {
    ggml_tensor* const tensor = ggml_new_tensor_1d(tensors_, GGML_TYPE_F32, width);
    std::fill_n(static_cast<float*>(tensor->data), width, 1.0F);
    add(tensor, name);
  }

  // What is no text is never the likeliest.
  void silence(ggml_tensor* output) {
    auto* const values = static_cast<ggml_fp16_t*>(output->data);
    for (std::size_t token = 0; token < kinds_.size(); ++token) {
      if (kinds_[token] != LLAMA_TOKEN_TYPE_NORMAL) {
        std::fill_n(values + token * width, width, ggml_fp32_to_fp16(0));
      }
    }
  }

  ggml_tensor* matrix(const std::string& name, std::int64_t columns, std::int64_t rows,
                      float scale) {
    ggml_tensor* const tensor = ggml_new_tensor_2d(tensors_, GGML_TYPE_F16, columns, rows);
    std::normal_distribution<float> one(0, scale / std::sqrt(static_cast<float>(columns)));
    std::vector<float> values(static_cast<std::size_t>(columns * rows));
    for (float& value : values) value = one(random_);
    ggml_fp32_to_fp16_row(values.data(), static_cast<ggml_fp16_t*>(tensor->data), columns * rows);
    add(tensor, name);
    return tensor;
  }

  void add(ggml_tensor* tensor, const std::string& name) {
    ggml_set_name(tensor, (name + ".weight").c_str());
    gguf_add_tensor(file_, tensor);
  }

  ggml_context* const tensors_;
  gguf_context* const file_;
  std::vector<std::int32_t> kinds_;  // Of tokens.
  std::mt19937 random_{7};
};

struct Form {
  const char* name;
  llama_ftype type;
};

class Quantised : public Generating, public testing::WithParamInterface<Form> {
 protected:
  static void SetUpTestSuite() {
    folder = fs::temp_directory_path() / ("quantised." + std::to_string(getpid()));
    fs::create_directories(folder);
    Wide().write(folder / "whole.gguf");
  }
  static void TearDownTestSuite() { fs::remove_all(folder); }

  static std::string file() {
    llama_model_quantize_params params = llama_model_quantize_default_params();
    params.ftype = GetParam().type;
    params.nthread = 1;
    const std::string path = folder / (std::string(GetParam().name) + ".gguf");
    CHECK(llama_model_quantize((folder / "whole.gguf").c_str(), path.c_str(), &params) == 0);
    return path;
  }

  // llama.cpp's, as it loads a file if nobody says how.
  static llama_model_ptr loaded(const std::string& path, bool repacks) {
    llama_model_params loading = llama_model_default_params();
    loading.use_extra_bufts = repacks;
    return llama_model_ptr(llama_model_load_from_file(path.c_str(), loading));
  }
  static llama_context_ptr context_of(const llama_model_ptr& other) {
    llama_context_params computing = llama_context_default_params();
    computing.n_ctx = 256;
    computing.n_threads = computing.n_threads_batch = 2;
    return llama_context_ptr(llama_init_from_model(other.get(), computing));
  }
  static std::vector<Token> greedy_of_llama_cpp(const std::string& path, bool repacks,
                                                std::vector<Token> tokens, std::size_t count) {
    const llama_model_ptr other = loaded(path, repacks);
    return greedy_of(context_of(other).get(), std::move(tokens), count);
  }

  // What llama.cpp computes after each token, so many at a time.
  static std::vector<std::vector<float>> logits_of(const llama_model_ptr& other,
                                                   std::vector<Token> tokens,
                                                   std::size_t at_a_time) {
    const llama_context_ptr context = context_of(other);
    const auto words = llama_vocab_n_tokens(llama_model_get_vocab(other.get()));
    std::vector<std::int8_t> every(at_a_time, 1);
    std::vector<std::vector<float>> all;
    while (all.size() < tokens.size()) {
      const auto count = static_cast<std::int32_t>(std::min(at_a_time, tokens.size() - all.size()));
      llama_batch batch = llama_batch_get_one(tokens.data() + all.size(), count);
      batch.logits = every.data();
      CHECK(llama_decode(context.get(), batch) == 0);
      for (std::int32_t row = 0; row < count; ++row) {
        const float* const logits = llama_get_logits_ith(context.get(), row);
        all.emplace_back(logits, logits + words);
      }
    }
    return all;
  }

  // How many of the model's tensors are computed with where the file is mapped.
  std::size_t in_the_file(const std::string& path) const {
    std::ifstream maps("/proc/self/maps");
    std::size_t found = 0;
    for (std::string line; std::getline(maps, line);) {
      std::uintptr_t begin = 0, end = 0;
      const bool known = std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR, &begin, &end) == 2;
      if (!known || !line.ends_with(path)) continue;
      for (const auto& [name, tensor] : llama_internal_get_tensor_map(model->model())) {
        const auto at = reinterpret_cast<std::uintptr_t>(tensor->data);
        found += begin <= at && at < end;
      }
    }
    return found;
  }

  static std::ptrdiff_t threads_there() {
    return std::distance(fs::directory_iterator("/proc/self/task"), fs::directory_iterator());
  }

  // One more, as what was said last is not computed with.
  static std::string greedily(const std::string& text) {
    return R"({"temperature":0,"ignore_eos":true,"max_tokens":)" + std::to_string(said_tokens + 1) +
           R"(,"prompt":")" + text + "\"}";
  }

  // The tokens themselves, as a text may be made of others.
  std::vector<Token> said_after(const std::vector<Token>& prompt) const {
    for (std::size_t slot = 0; slot < static_cast<std::size_t>(model->sequences()); ++slot) {
      const std::vector<Token>& all = engine->computed(slot);
      if (all.size() <= prompt.size() || !std::equal(prompt.begin(), prompt.end(), all.begin())) {
        continue;
      }
      return {all.begin() + static_cast<std::ptrdiff_t>(prompt.size()), all.end()};
    }
    return {};
  }

  static constexpr const char* texts[] = {"the dormouse sleeps all day", "two mice and a cat",
                                          "the moon is", "one river runs by the old house"};
  void answer_together() {
    std::vector<Kept> kept(std::size(texts));
    std::vector<std::unique_ptr<Call>> calls;
    for (std::size_t i = 0; i < std::size(texts); ++i) {
      calls.push_back(*begin(kept[i], greedily(texts[i])));
      if (i == 1) ASSERT_TRUE(engine->step());  // The others join.
    }
    finish();
  }

  static float greatest_difference(const std::vector<std::vector<float>>& some,
                                   const std::vector<std::vector<float>>& others) {
    float greatest = 0;
    for (std::size_t i = 0; i < some.size(); ++i) {
      for (std::size_t j = 0; j < some[i].size(); ++j) {
        greatest = std::max(greatest, std::abs(some[i][j] - others[i][j]));
      }
    }
    return greatest;
  }

  static inline fs::path folder;
};

TEST_P(Quantised, SaysWhatLlamaCppSaysTokenByToken) {
  const std::string text = "the dormouse sleeps all day in the warm house";
  const std::string path = file();
  for (const bool mapped : {false, true}) {
    engine.reset();
    model.reset();
    const auto threads_before = threads_there();  // A sanitizer may have one of its own.
    use({.path = path, .context = 256, .sequences = 4, .threads = 2, .mapped = mapped});
    EXPECT_EQ(in_the_file(path) > 0, mapped);
    EXPECT_EQ(threads_there(), threads_before) << "a fork would not have them";
    model->start_threads();
    const auto tokens = model->tokens(text, false);
    const auto expected = greedy_of_llama_cpp(path, !mapped, tokens, said_tokens);
    const Kept kept = asked(greedily(text));
    ASSERT_FALSE(kept.error) << kept.error->message;
    EXPECT_EQ(said_after(tokens), expected) << (mapped ? "mapped" : "in memory");
    EXPECT_TRUE(kept.text().starts_with(text_of(expected)));
  }
}

// Each token is the likeliest, as far as llama.cpp itself computes the same of many tokens at a
// time as of one after the other: to the last bit in most forms. Q4_K_M in memory is computed in
// another way from four tokens on, with logits that differ by some 0.5; F16 by some 0.02.
TEST_P(Quantised, SaysInCompanyWhatItSaysAlone) {
  const std::string path = file();
  for (const bool mapped : {false, true}) {
    engine.reset();
    use({.path = path, .context = 256, .sequences = 4, .threads = 2, .mapped = mapped});
    model->start_threads();
    answer_together();
    const llama_model_ptr other = loaded(path, !mapped);
    for (const char* text : texts) {
      const auto prompt = model->tokens(text, false);
      const auto said = said_after(prompt);
      ASSERT_EQ(said.size(), said_tokens);
      std::vector<Token> all = prompt;
      all.insert(all.end(), said.begin(), said.end());
      const auto alone = logits_of(other, all, 1);
      const float rounding = greatest_difference(alone, logits_of(other, all, in_a_step));
      EXPECT_LT(rounding, 1);
      for (std::size_t i = 0; i < said.size(); ++i) {
        const std::vector<float>& logits = alone[prompt.size() - 1 + i];
        EXPECT_GE(logits[static_cast<std::size_t>(said[i])],
                  std::ranges::max(logits) - 2 * rounding)
            << text << ": token " << i << (mapped ? ", mapped" : ", in memory");
      }
    }
  }
}

// Otherwise what is read ahead is read in vain, and memory taken for it.
TEST_P(Quantised, ReadsAheadWhatLlamaCppLeavesInTheFile) {
  const std::string path = file();
  std::ifstream stream(path, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(stream)), {});
  const auto header = check_gguf(as_bytes(bytes));
  ASSERT_TRUE(header);
  Weights weights(path, *header, /*has_helper=*/true);
  const llama_model_ptr loaded(
      llama_model_load_from_file(path.c_str(), llama_model_default_params()));
  ASSERT_TRUE(loaded);
  ASSERT_TRUE(weights.bring(loaded.get()));
  EXPECT_LT(weights.bytes_late(), huge);  // Less is not worth it.
  EXPECT_EQ(weights.bytes_in_vain(), 0U);
}

TEST(Model, SaysWhatItsContextTakesByTheLengthOfItsHeads) {
  const fs::path path = fs::temp_directory_path() / ("heads." + std::to_string(getpid()));
  Wide(128).write(path);
  const auto model = Model::open({.path = path, .context = 256, .sequences = 4});
  fs::remove(path);
  ASSERT_TRUE(model) << model.error().message;
  // 1,024 tokens of 3 layers of 2 heads, each with a key and a value of 128 numbers.
  EXPECT_TRUE((*model)->notes().at("context").contains("some 3 MiB when"))
      << (*model)->notes().at("context");
}

TEST(Model, WarnsOfMemoryThatAFullContextDoesNotFit) {
  constexpr std::uint64_t mib = 1 << 20;
  const fs::path path = fs::temp_directory_path() / ("full." + std::to_string(getpid()));
  Wide(128).write(path);
  for (const bool mapped : {false, true}) {
    const auto model =
        Model::open({.path = path, .context = 1024, .sequences = 16, .mapped = mapped});
    ASSERT_TRUE(model) << model.error().message;
    // 48 MiB of context, and 12 of weights.
    EXPECT_EQ((*model)->shortage(64 * mib), "");
    EXPECT_EQ((*model)->shortage(50 * mib).empty(), mapped);
    EXPECT_EQ((*model)->shortage(32 * mib),
              "too little for long conversations: " +
                  std::string(mapped ? "the context takes some 48 MiB"
                                     : "weights and context take some 60 MiB") +
                  " when all of it is full, and 32 MiB are declared: a call may end its instance; "
                  "give it more, or less llm.context");
  }
  fs::remove(path);
}

INSTANTIATE_TEST_SUITE_P(Forms, Quantised,
                         testing::Values(Form{"F16", LLAMA_FTYPE_MOSTLY_F16},
                                         Form{"Q8_0", LLAMA_FTYPE_MOSTLY_Q8_0},
                                         Form{"Q4_0", LLAMA_FTYPE_MOSTLY_Q4_0},
                                         Form{"Q4_K_M", LLAMA_FTYPE_MOSTLY_Q4_K_M},
                                         Form{"Q6_K", LLAMA_FTYPE_MOSTLY_Q6_K}),
                         [](const auto& each) { return each.param.name; });

}  // namespace
}  // namespace dormouse::llm
