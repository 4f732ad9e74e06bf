// What may follow, and which of it is chosen: sampling, schemas, JSON. On a tiny model of random
// weights.
#include "runtimes/llm/test_calls.h"

namespace dormouse::llm {
namespace {

class Choose : public Generating {};

TEST_F(Choose, FollowsASchema) {
  const Kept kept = asked(
      R"({"messages":[{"role":"user","content":"x"}],"seed":3,"max_tokens":200,"response_format":
          {"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object","properties":
          {"a":{"enum":["cat","dog"]},"b":{"type":"boolean"}},"required":["a","b"],
          "additionalProperties":false}}}})");
  ASSERT_FALSE(kept.error) << kept.error->message;
  const json::value answer = json::parse(kept.text());
  EXPECT_TRUE(answer.at("a") == "cat" || answer.at("a") == "dog");
  EXPECT_TRUE(answer.at("b").is_bool());
}

TEST_F(Choose, FollowsASchemaBesideToolsThatMayNotBeCalled) {
  const Kept kept = asked(
      R"({"messages":[{"role":"user","content":"x"}],"seed":3,"max_tokens":200,
          "tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"none",
          "response_format":{"type":"json_schema","json_schema":{"name":"n","schema":
          {"type":"object","properties":{"a":{"enum":["cat","dog"],"maxLength":99999}},
           "required":["a"],"additionalProperties":false}}}})");
  ASSERT_FALSE(kept.error) << kept.error->message;
  const json::value answer = json::parse(kept.text());
  EXPECT_TRUE(answer.at("a") == "cat" || answer.at("a") == "dog");
}

TEST_F(Choose, FailsACallThatNothingMayFollow) {
  // The answer is complete, and every token that ends it is banned.
  std::string bans;
  for (const Token end : model->end_tokens()) {
    bans += (bans.empty() ? "\"" : ",\"") + std::to_string(end) + "\":-100";
  }
  const Kept kept = asked(
      R"({"messages":[{"role":"user","content":"x"}],"max_tokens":200,"logit_bias":{)" + bans +
      R"(},"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":
          {"enum":[1]}}}})");
  ASSERT_TRUE(kept.error);
  EXPECT_EQ(kept.error->code, Code::invalid_argument);
  EXPECT_EQ(kept.error->message, "logit_bias: it leaves no token to go on with");
  EXPECT_EQ(asked(prompt("still here")).usage.generated, 24U);
}

TEST_F(Choose, NamesTheBiasesThatRuleOutEveryToken) {
  std::string bans;
  for (Token token = 0; model->has(token); ++token) {
    bans += (bans.empty() ? "\"" : ",\"") + std::to_string(token) + "\":-100";
  }
  const char* const wishes[] = {R"("temperature":0)", R"("temperature":1,"seed":1)",
                                R"("temperature":1,"top_p":0.5,"n":2)",
                                R"("temperature":0,"presence_penalty":1)", R"("stream":true)"};
  for (const char* wish : wishes) {
    const Kept kept = asked(R"({"prompt":"x","logit_bias":{)" + bans + "}," + wish + "}");
    ASSERT_TRUE(kept.error) << wish;
    EXPECT_EQ(kept.error->code, Code::invalid_argument) << wish;
    EXPECT_EQ(kept.error->message, "logit_bias: it leaves no token to go on with") << wish;
  }
  EXPECT_EQ(asked(prompt("still here")).usage.generated, 24U);
}

TEST_F(Choose, ChoosesTheLikeliestAsLlamaCppsSamplersDo) {
  const Token first = greedy(model->tokens("Hello", false), 1).front();
  const std::string bans = R"("logit_bias":{")" + std::to_string(first) + R"(":-100,"300":4.5})";
  // So small a penalty is none, but it needs the samplers.
  const std::string wishes[] = {R"("max_tokens":32)", R"("ignore_eos":true,"max_tokens":32)",
                                bans + R"(,"max_tokens":32,"logprobs":2)"};
  for (const std::string& each : wishes) {
    const std::string body = R"({"prompt":"Hello","temperature":0,)" + each;
    const Kept alone = asked(body + "}");
    const Kept sampled = asked(body + R"(,"presence_penalty":1e-30})");
    ASSERT_FALSE(alone.error) << alone.error->message;
    EXPECT_EQ(alone.json().at("choices"), sampled.json().at("choices")) << each;
  }
  const Kept banned = asked(R"({"prompt":"Hello","temperature":0,"max_tokens":1,)" + bans + "}");
  EXPECT_NE(banned.text(), text_of({first}));
}

// Each of them leaves one token to choose from.
TEST_F(Choose, ChoosesTheLikeliestIfNoOtherIsLeft) {
  const auto said = [&](const std::string& wishes) {
    return asked(R"({"prompt":"Hello","ignore_eos":true,"max_tokens":32,"seed":7,)" + wishes + "}")
        .text();
  };
  const std::string likeliest = said(R"("temperature":0)");
  EXPECT_NE(said(R"("temperature":1)"), likeliest);
  for (const char* wish : {R"("top_k":1)", R"("top_p":1e-6)", R"("top_p":0)", R"("min_p":1)"}) {
    EXPECT_EQ(said(std::string(R"("temperature":1,)") + wish), likeliest) << wish;
  }
}

TEST_F(Choose, SaysWhatItHasSaidLessOftenIfThatIsPenalised) {
  const auto different_tokens = [&](const std::string& wishes) {
    const Kept kept = asked(R"({"prompt":"Hello","temperature":0,"ignore_eos":true,"logprobs":0,
                                "max_tokens":200)" +
                            wishes + "}");
    std::set<std::string> different;
    const json::value logprobs = kept.json().at("choices").at(0).at("logprobs");
    for (const json::value& token : logprobs.at("tokens").as_array()) {
      different.emplace(token.as_string());
    }
    return different.size();
  };
  const std::size_t freely = different_tokens("");
  EXPECT_GT(different_tokens(R"(,"presence_penalty":2)"), freely + 20);
  EXPECT_GT(different_tokens(R"(,"frequency_penalty":2)"), freely + 20);
  EXPECT_LT(different_tokens(R"(,"presence_penalty":-2)"), freely - 20);
  EXPECT_LT(different_tokens(R"(,"frequency_penalty":-2)"), freely - 20);
}

TEST_F(Choose, AnswersWithAJsonObjectInJsonMode) {
  // Words that end soon.
  const std::string quote = std::to_string(model->tokens("\"", false).back());
  std::size_t whole = 0, members = 0;
  for (int seed = 0; seed < 20; ++seed) {
    const Kept kept =
        asked(R"({"messages":[{"role":"user","content":"x"}],"max_tokens":200,"seed":)" +
              std::to_string(seed) + R"(,"logit_bias":{")" + quote +
              R"(":5},"response_format":{"type":"json_object"}})");
    ASSERT_FALSE(kept.error) << kept.error->message;
    if (kept.json().at("choices").at(0).at("finish_reason") != "stop") continue;
    const json::value answer = json::parse(kept.text());
    ASSERT_TRUE(answer.is_object()) << kept.text();
    members += answer.as_object().size();
    ++whole;
  }
  EXPECT_GT(whole, 10U);
  EXPECT_GT(members, 5U);
}

TEST_F(Choose, TakesTemperaturesThatAreNextToNothing) {
  const Kept kept = asked(R"({"prompt":"Hello","temperature":1e-38,"max_tokens":5})");
  ASSERT_FALSE(kept.error) << kept.error->message;
  EXPECT_GT(kept.usage.generated, 0U);
}

TEST_F(Choose, RefusesASchemaThatIsNone) {
  const Kept kept = asked(
      R"({"messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_schema",
          "json_schema":{"name":"n","strict":true,"schema":{"type":"nonsense"}}}})");
  ASSERT_TRUE(kept.error);
  EXPECT_EQ(blame(kept.error->code), Blame::caller);
}

}  // namespace
}  // namespace dormouse::llm
