// How likely an answer's tokens were. On a tiny model of random weights.
#include <cmath>
#include <functional>
#include <numeric>

#include "runtimes/llm/conversation.h"
#include "runtimes/llm/test_calls.h"

namespace dormouse::llm {
namespace {

class Logprobs : public Generating {
 protected:
  using Logarithms = std::vector<double>;  // Of each token that may follow.

  // Before each of what was said, by the logits that llama.cpp computes by itself.
  std::vector<Logarithms> before(std::vector<Token> prompt, std::vector<Token> said) {
    llama_memory_clear(model->memory(), true);
    std::vector<Logarithms> all;
    llama_batch batch =
        llama_batch_get_one(prompt.data(), static_cast<std::int32_t>(prompt.size()));
    for (Token& token : said) {
      EXPECT_EQ(llama_decode(model->context(), batch), 0);
      all.push_back(logarithms());
      batch = llama_batch_get_one(&token, 1);
    }
    llama_memory_clear(model->memory(), true);
    engine = std::make_unique<Engine>(model.get());
    return all;
  }
  Logarithms logarithms() const {
    const float* const logits = llama_get_logits_ith(model->context(), -1);
    Logarithms all(logits, logits + llama_vocab_n_tokens(model->vocabulary()));
    double sum = 0;
    for (const double logit : all) sum += std::exp(logit);
    for (double& each : all) each -= std::log(sum);
    return all;
  }
  static std::vector<Token> likeliest(const Logarithms& of, std::size_t count) {
    std::vector<Token> all(of.size());
    std::iota(all.begin(), all.end(), 0);
    std::ranges::sort(all, std::greater(), [&](Token token) { return of[at(token)]; });
    all.resize(count);
    return all;
  }
  static std::size_t at(Token token) { return static_cast<std::size_t>(token); }

  static constexpr double rounding = 1e-5;
};

TEST_F(Logprobs, OfACompletionAreLlamaCpps) {
  const std::vector<Token> tokens = model->tokens("Hello", false);
  const std::vector<Token> said = greedy(tokens, 8);
  const std::vector<Logarithms> all = before(tokens, said);
  const Kept kept = asked(prompt("Hello", R"(,"logprobs":3,"max_tokens":8)"));
  const json::value logprobs = kept.json().at("choices").at(0).at("logprobs");
  ASSERT_EQ(logprobs.at("tokens").as_array().size(), 8U);
  for (std::size_t i = 0; i < said.size(); ++i) {
    const Logarithms& expected = all[i];
    EXPECT_EQ(logprobs.at("tokens").at(i).as_string(), model->piece(said[i]));
    EXPECT_NEAR(logprobs.at("token_logprobs").at(i).as_double(), expected[at(said[i])], rounding);
    const json::object& top = logprobs.at("top_logprobs").at(i).as_object();
    EXPECT_EQ(top.size(), 3U);  // Of which the first was chosen.
    for (const Token token : likeliest(expected, 3)) {
      ASSERT_TRUE(top.contains(model->piece(token))) << i;
      EXPECT_NEAR(top.at(model->piece(token)).as_double(), expected[at(token)], rounding);
    }
  }
}

// Whatever the request itself makes likely.
TEST_F(Logprobs, OfAChatAreLlamaCpps) {
  const Token wished = model->tokens("mouse", false).back();
  const std::string body =
      R"({"messages":[{"role":"user","content":"Hi"}],"logprobs":true,"top_logprobs":5,"seed":1,
          "max_tokens":4,"temperature":1.5,"top_p":0.9,"presence_penalty":1,"logit_bias":{")" +
      std::to_string(wished) + R"(":100}})";
  const std::vector<Logarithms> all =
      before(continued(*model, {}, templates->apply(*read_request("", body))->text),
             std::vector<Token>(4, wished));
  const Kept kept = asked(body);
  ASSERT_FALSE(kept.error) << kept.error->message;
  const json::array content =
      kept.json().at("choices").at(0).at("logprobs").at("content").as_array();
  ASSERT_EQ(content.size(), 4U);
  for (std::size_t i = 0; i < 4; ++i) {
    const json::value& each = content[i];
    const Logarithms& expected = all[i];
    EXPECT_EQ(each.at("token").as_string(), model->piece(wished));
    EXPECT_NEAR(each.at("logprob").as_double(), expected[at(wished)], rounding);
    const json::array& top = each.at("top_logprobs").as_array();
    ASSERT_EQ(top.size(), 5U);
    const std::vector<Token> first = likeliest(expected, 5);
    for (std::size_t j = 0; j < 5; ++j) {
      EXPECT_NEAR(top[j].at("logprob").as_double(), expected[at(first[j])], rounding);
      std::string bytes;
      for (const json::value& byte : top[j].at("bytes").as_array()) {
        bytes += static_cast<char>(byte.as_int64());
      }
      EXPECT_EQ(bytes, model->piece(first[j], true));
    }
  }
}

TEST_F(Logprobs, SayWhereTokensBeginInCharacters) {
  std::string wanted;  // Halves of characters, in any order, and whole ones.
  for (const Token token : model->tokens("ß😀a", false)) {
    wanted += (wanted.empty() ? "\"" : ",\"") + std::to_string(token) + "\":100";
  }
  const std::string body =
      R"({"prompt":"x","temperature":2,"seed":1,"ignore_eos":true,"logprobs":0,"max_tokens":64,
          "logit_bias":{)" +
      wanted + "}}";
  const Kept whole = asked(body);
  const json::value logprobs = whole.json().at("choices").at(0).at("logprobs");
  const json::array offsets = logprobs.at("text_offset").as_array();
  ASSERT_EQ(offsets.size(), 64U);
  EXPECT_EQ(offsets[0], 0);
  const auto characters = [](const std::string& text) {
    return std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; });
  };
  EXPECT_LT(characters(whole.text()), std::ssize(whole.text()));  // So it counts otherwise.
  EXPECT_TRUE(std::ranges::is_sorted(
      offsets, {}, [](const json::value& each) { return each.to_number<std::int64_t>(); }));
  EXPECT_LE(offsets.back().to_number<std::int64_t>(), characters(whole.text()));
  EXPECT_GE(offsets.back().to_number<std::int64_t>(), characters(whole.text()) - 4);
  json::array streamed;
  for (const json::value& event :
       events_of(asked(body.substr(0, body.size() - 1) + R"(,"stream":true})").body)) {
    const json::value& some = event.at("choices").at(0).at("logprobs");
    if (some.is_null()) continue;
    for (const json::value& each : some.at("text_offset").as_array()) streamed.push_back(each);
  }
  EXPECT_EQ(streamed, offsets);
}

TEST_F(Logprobs, AreOfNoTokenOfAStopSequence) {
  const std::string likely = R"(,"logprobs":1)";
  const json::array tokens = asked(prompt("Hello", likely))
                                 .json()
                                 .at("choices")
                                 .at(0)
                                 .at("logprobs")
                                 .at("tokens")
                                 .as_array();
  const auto piece = [&](std::size_t i) { return std::string(tokens[i].as_string()); };
  const auto piece_size = [&](std::size_t i) { return piece(i).size(); };
  std::size_t first = 5;  // Of three that it stops at.
  while (first + 3 < tokens.size() && piece_size(first) < 2) ++first;
  ASSERT_LT(first + 3, tokens.size());
  const std::string stop = piece(first) + piece(first + 1) + piece(first + 2);
  // From the first character of a token on, or from its second: then it is half said.
  for (const std::size_t said : {0U, 1U}) {
    const std::string wishes =
        likely + R"(,"stop":)" + json::serialize(json::value(stop.substr(said)));
    const Kept kept = asked(prompt("Hello", wishes));
    const json::value choice = kept.json().at("choices").at(0);
    ASSERT_EQ(choice.at("finish_reason"), "stop");
    const json::value logprobs = choice.at("logprobs");
    EXPECT_EQ(logprobs.at("tokens"),
              json::value(json::array(tokens.begin(),
                                      tokens.begin() + static_cast<std::ptrdiff_t>(first + said))));
    json::array streamed;
    for (const json::value& event :
         events_of(asked(prompt("Hello", wishes + R"(,"stream":true)")).body)) {
      const json::value& some = event.at("choices").at(0).at("logprobs");
      if (some.is_null()) continue;
      for (const json::value& each : some.at("tokens").as_array()) streamed.push_back(each);
    }
    EXPECT_EQ(json::value(streamed), logprobs.at("tokens"));
  }
}

}  // namespace
}  // namespace dormouse::llm
