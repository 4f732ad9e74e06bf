// Texts to vectors, on a tiny model of random weights.
#include <cmath>
#include <cstring>
#include <numeric>

#include "runtimes/llm/test_calls.h"

namespace dormouse::llm {
namespace {

class Embed : public Generating {
 protected:
  Embed() { make("bert.gguf", ""); }

  void make(const std::string& name, const std::string& pooling) {
    Settings made = settings(name);
    made.context = 0;
    made.pooling = pooling;
    use(made);
    embedder = std::make_unique<Embedder>(model.get());
  }
  Kept embedded(std::string_view body) {
    Kept kept;
    auto request = read_request("", body);
    if (!request) {
      kept.error = request.error();
      return kept;
    }
    const Invocation invocation{.id = "7", .wanted = "", .body = body, .now = 5};
    auto call = EmbeddingCall::make(model.get(), &kept, invocation, std::move(*request));
    if (!call) {
      kept.error = call.error();
      return kept;
    }
    while (!(*call)->over()) (*call)->step(embedder.get());
    return kept;
  }

  // As numbers, or as base64 of their bytes (RFC 4648, 4).
  static std::vector<float> floats(const json::value& vector) {
    std::vector<float> all;
    if (vector.is_array()) {
      for (const json::value& each : vector.as_array()) all.push_back(each.to_number<float>());
      return all;
    }
    constexpr std::string_view letters =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string_view text = vector.as_string();
    EXPECT_EQ(text.size() % 4, 0U);
    std::string bytes;
    unsigned bits = 0, count = 0;
    for (text = text.substr(0, text.find('=')); !text.empty(); text.remove_prefix(1)) {
      EXPECT_TRUE(letters.contains(text.front())) << text;
      bits = (bits << 6) | static_cast<unsigned>(letters.find(text.front()));
      count += 6;
      if (count < 8) continue;
      count -= 8;
      bytes += static_cast<char>(bits >> count);
    }
    all.resize(bytes.size() / sizeof(float));
    EXPECT_EQ(bytes.size() % sizeof(float), 0U);
    std::memcpy(all.data(), bytes.data(), bytes.size());
    return all;
  }

  static std::vector<Token> tokens_of(const llama_model* of, const std::string& text) {
    std::vector<Token> tokens(text.size() + 2);
    const auto size = [](const auto& all) { return static_cast<std::int32_t>(all.size()); };
    const std::int32_t count = llama_tokenize(llama_model_get_vocab(of), text.data(), size(text),
                                              tokens.data(), size(tokens), true, false);
    CHECK(count > 0);
    tokens.resize(static_cast<std::size_t>(count));
    return tokens;
  }

  // What llama.cpp makes of it by itself, in a context of its own.
  static std::vector<float> plainly(const std::string& name, enum llama_pooling_type pooling,
                                    const std::string& text) {
    const std::string path = std::string(LLM_TESTDATA) + "/" + name;
    const llama_model_ptr plain(
        llama_model_load_from_file(path.c_str(), llama_model_default_params()));
    llama_context_params computing = llama_context_default_params();
    computing.embeddings = true;
    computing.pooling_type = pooling;
    const llama_context_ptr context(llama_init_from_model(plain.get(), computing));
    std::vector<Token> tokens = tokens_of(plain.get(), text);
    const llama_batch batch =
        llama_batch_get_one(tokens.data(), static_cast<std::int32_t>(tokens.size()));
    const bool remembers = llama_get_memory(context.get()) != nullptr;
    const auto compute = remembers ? llama_decode : llama_encode;
    EXPECT_EQ(compute(context.get(), batch), 0);
    const float* const values = llama_get_embeddings_seq(context.get(), 0);
    return {values, values + llama_model_n_embd_out(plain.get())};
  }

  std::unique_ptr<Embedder> embedder;
};

TEST_F(Embed, MakesTheVectorsThatLlamaCppMakes) {
  struct Made {
    const char* model;
    const char* pooling;
    enum llama_pooling_type plain;
  };
  const std::string text = "two mice and a river by the sea";
  for (const Made& each : {Made{"bert.gguf", "", LLAMA_POOLING_TYPE_MEAN},
                           Made{"bert.gguf", "cls", LLAMA_POOLING_TYPE_CLS},
                           Made{"llama.gguf", "mean", LLAMA_POOLING_TYPE_MEAN},
                           Made{"llama.gguf", "last", LLAMA_POOLING_TYPE_LAST}}) {
    make(each.model, each.pooling);
    const Kept kept = embedded(R"({"input":["one mouse",")" + text + R"(","the moon"]})");
    ASSERT_FALSE(kept.error) << kept.error->message;
    const json::array ours = kept.json().at("data").at(1).at("embedding").as_array();
    const std::vector<float> plain = plainly(each.model, each.plain, text);
    ASSERT_EQ(ours.size(), plain.size());
    const double length =
        std::sqrt(std::inner_product(plain.begin(), plain.end(), plain.begin(), 0.0));
    for (std::size_t i = 0; i < plain.size(); ++i) {
      EXPECT_NEAR(ours[i].to_number<double>(), plain[i] / length, 1e-5)
          << each.model << " " << each.pooling;
    }
  }
}

TEST_F(Embed, MakesVectorsOfLengthOne) {
  const Kept kept = embedded(R"({"model":"b","input":["one mouse","two mice","one mouse"]})");
  ASSERT_FALSE(kept.error) << kept.error->message;
  const json::array data = kept.json().at("data").as_array();
  ASSERT_EQ(data.size(), 3U);
  double square = 0;
  for (const json::value& value : data[0].at("embedding").as_array()) {
    square += value.to_number<double>() * value.to_number<double>();
  }
  EXPECT_NEAR(square, 1, 1e-4);
  EXPECT_NE(data[0].at("embedding"), data[1].at("embedding"));
  EXPECT_EQ(data[2].at("index"), 2);
  EXPECT_EQ(kept.json().at("usage").at("prompt_tokens"), kept.usage.prompt);
}

TEST_F(Embed, GivesTheSameInCompanyAndAsBytes) {
  const auto first = [&](const char* body) {
    return embedded(body).json().at("data").at(0).at("embedding");
  };
  const json::value alone = first(R"({"input":"one mouse"})");
  const json::value company = first(R"({"input":["one mouse","and a very long text about mice"]})");
  const json::value bytes = first(R"({"input":"one mouse","encoding_format":"base64"})");
  ASSERT_EQ(alone.as_array().size(), company.as_array().size());
  for (std::size_t i = 0; i < alone.as_array().size(); ++i) {
    EXPECT_NEAR(alone.at(i).to_number<double>(), company.at(i).to_number<double>(), 1e-3);
  }
  EXPECT_EQ(floats(bytes), floats(alone));
}

TEST_F(Embed, MakesThemOfLengthOneAgainWhereOnlyTheFirstAreAskedFor) {
  const std::string body = R"({"input":"one mouse")";
  const auto made = [&](const std::string& wishes) {
    return floats(embedded(body + wishes + "}").json().at("data").at(0).at("embedding"));
  };
  const std::vector<float> all = made("");
  for (const std::size_t count : {std::size_t{1}, std::size_t{2}, std::size_t{3}, all.size()}) {
    const std::string asked = R"(,"dimensions":)" + std::to_string(count);
    const std::vector<float> some = made(asked);
    ASSERT_EQ(some.size(), count);
    EXPECT_EQ(made(asked + R"(,"encoding_format":"base64")"), some);
    const auto end = all.begin() + static_cast<std::ptrdiff_t>(count);
    const double length = std::sqrt(std::inner_product(all.begin(), end, all.begin(), 0.0));
    EXPECT_NEAR(std::inner_product(some.begin(), some.end(), some.begin(), 0.0), 1, 1e-5);
    for (std::size_t i = 0; i < count; ++i) EXPECT_NEAR(some[i], all[i] / length, 1e-5) << i;
  }
}

TEST_F(Embed, RefusesWhatItCannot) {
  EXPECT_EQ(embedded(R"({"prompt":"x"})").error->code, Code::unsupported);
  EXPECT_TRUE(
      embedded(R"({"input":"x","dimensions":100000})").error->message.starts_with("dimensions: "));
  std::string text;
  for (int i = 0; i < 5000; ++i) text += "mouse ";
  const std::string body = R"({"input":["a",")" + text + "\"]}";
  EXPECT_TRUE(embedded(body).error->message.starts_with("input[1]: context: "));
}

}  // namespace
}  // namespace dormouse::llm
