// Texts to vectors, on a tiny model of random weights.
#include "runtimes/llm/test_calls.h"

namespace dormouse::llm {
namespace {

class Embed : public Generating {
 protected:
  Embed() {
    Settings bert = settings("bert.gguf");
    bert.context = 0;
    use(bert);
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
  std::unique_ptr<Embedder> embedder;
};

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
  EXPECT_EQ(bytes.as_string().size(), (alone.as_array().size() * 4 + 2) / 3 * 4);
  EXPECT_EQ(first(R"({"input":"one mouse","dimensions":8})").as_array().size(), 8U);
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
